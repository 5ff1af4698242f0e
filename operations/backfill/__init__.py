"""Events that a provider sent while we could not take them, fetched from its own log."""
