"""The cache worker: keys that are out of date are removed from Redis, and only keys under our prefix."""
