"""Webhooks: verified by their source, committed many at a time, answered; refused ones are kept by their worth."""
