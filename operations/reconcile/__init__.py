"""Compare the provider's present objects with our rows, and correct differences."""
