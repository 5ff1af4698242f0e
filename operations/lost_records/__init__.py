"""Records that Kafka lost before they were read: found again in the log, and sent again."""
