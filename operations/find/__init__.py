"""The search for anything by one of its ids."""
