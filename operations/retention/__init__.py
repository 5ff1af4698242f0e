"""The retention as operators see it: deleted records, kept records, and the next run."""
