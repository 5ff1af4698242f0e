"""One event: where it came from, what became of it, and what it caused."""
