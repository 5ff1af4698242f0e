"""Dead letters: listed, read, retried or discarded."""
