"""The commands of `tallyhook`, a module each group; `ops/cli.py` puts them together."""
