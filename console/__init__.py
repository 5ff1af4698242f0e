"""The operators' console: pages of the internal listener that show and do what the admin API can, in a browser."""
