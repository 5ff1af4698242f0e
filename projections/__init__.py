"""What the events add up to: tables of current state and their reads. Written by streams, read by the gateway and operations."""
