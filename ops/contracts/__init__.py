"""The published contracts, made at build time from the routes and records that serve and validate."""
