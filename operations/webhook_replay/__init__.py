"""Kept deliveries, verified and sent again: as a job with a rate, progress and a dry run."""
