"""The messages to people, as their recipients read them."""
