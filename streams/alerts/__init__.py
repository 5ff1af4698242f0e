"""The alerts worker: notifies operators of alerts, once per window and kind."""
