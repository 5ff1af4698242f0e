"""The effects: one folder per worker, one processor around all. Faust appears in app, transport, progress and pages."""
