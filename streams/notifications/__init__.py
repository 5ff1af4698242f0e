"""The notifications worker: commands become rows, and rows become messages."""
