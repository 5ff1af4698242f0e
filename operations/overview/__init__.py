"""The state of everything, cheap enough to be asked every few seconds."""
