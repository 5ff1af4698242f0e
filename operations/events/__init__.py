"""One event: its causes, its journey, and its consequences."""
