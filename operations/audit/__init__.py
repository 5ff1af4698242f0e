"""Who called what."""
