"""Restore a lost table: build it from the log beside the live one, compare them, and correct the live one in one transaction."""
