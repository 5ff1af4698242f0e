"""The review of the settings of all processes together, before any of them starts."""
