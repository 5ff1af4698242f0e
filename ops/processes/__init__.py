"""The composition roots: they alone know all routes and loops."""
