"""The account of everything that came in: read, swept, and checked against what is there."""
