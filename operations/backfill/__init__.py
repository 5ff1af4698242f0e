"""Fetches from a provider's own log the events that it sent while we could not receive them."""
