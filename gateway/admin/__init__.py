"""What operators ask: the delivery log with each event's journey, and the current state of what events add up to."""
