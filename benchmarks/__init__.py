"""How fast Tallyhook is, as ratios to what the same machine can do in the same minutes; see README.md."""
