"""Records that were set aside: found, retried or discarded."""
