"""The log of all calls with their callers."""
