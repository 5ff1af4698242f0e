"""The delivery log: found, read, and explained where a delivery was refused."""
