"""The search for everything that an id names."""
