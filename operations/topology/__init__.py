"""The graph of who reads and writes what, with Kafka's figures."""
