"""Records that Kafka still holds, read again: by the group itself, or beside it into shadow tables."""
