"""Measures the speed of Tallyhook as ratios to other programs on the same machine at the same time; see README.md."""
