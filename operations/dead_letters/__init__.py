"""Dead letters: found, retried or discarded."""
