"""Finds in the log the records that Kafka lost before they were read, and sends them again."""
