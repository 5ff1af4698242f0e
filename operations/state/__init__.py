"""The current state of one payment, subscription, invoice, lead or notification."""
