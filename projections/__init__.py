"""What the events add up to: the tables of current state and their reads. Written by streams, read by the gateway's admin routes."""
