"""The topology of the whole system, declared and joined with Kafka's figures: as a record, a drawing, a page and Mermaid."""
