"""The state of the whole system, cheap enough to be requested every few seconds."""
