"""The operators' console: pages of the internal listener, which offer the admin API in a browser."""
