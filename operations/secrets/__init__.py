"""The secrets as operators see them: making new ones, and listing them with their use."""
