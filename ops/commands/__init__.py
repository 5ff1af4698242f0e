"""The commands of `tallyhook`, one module for each group; `ops/cli.py` combines them."""
