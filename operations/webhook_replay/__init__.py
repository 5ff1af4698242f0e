"""Replays of stored deliveries: jobs that verify them and send them again, with a rate, progress and a dry run."""
