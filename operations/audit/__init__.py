"""The log of who called what."""
