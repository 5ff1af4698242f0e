"""The alerts worker: notifies operators of alerts, once a window for each kind."""
