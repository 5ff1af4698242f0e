"""Webhooks: verified by their source, committed many at a time, answered; what is refused is kept by its worth."""
