"""Counts in buckets of time."""
