"""What a provider sent while we could not take it, fetched from its own log of events."""
