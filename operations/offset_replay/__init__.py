"""Read records that Kafka still holds again: by the worker group itself, or beside it into shadow tables."""
