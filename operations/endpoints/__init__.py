"""The endpoints of providers, which operators add, change and remove."""
