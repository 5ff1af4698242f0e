"""The delivery log: lists and reads deliveries, and explains why one was refused."""
