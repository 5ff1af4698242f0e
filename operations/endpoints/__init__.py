"""The endpoints of providers, as operators add, change and remove them."""
