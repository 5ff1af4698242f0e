"""The graph of agents and the topics that they read and write, with Kafka's figures."""
