"""Webhooks: each is verified by its source, committed in a batch and answered; rejected ones are kept by their worth."""
