"""The chain of migrations, run by `tallyhook migrate`."""
