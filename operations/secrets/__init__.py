"""The secrets as operators see them: made, listed, and safe to drop or not."""
