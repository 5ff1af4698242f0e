"""What Kafka holds, read again: by the group itself, or beside it into shadow tables."""
