"""The retention as operators see it: what is gone, what is kept, and its next run."""
