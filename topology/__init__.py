"""The system seen whole: the declared graph with what Kafka says of it, as a record, a drawing, a page, and Mermaid."""
