"""The account of everything that came in, and the sweep that checks it."""
