"""Measures the speed of Tallyhook, as ratios to what the same machine can do in the same minutes; see README.md."""
