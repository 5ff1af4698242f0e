"""The effects: one folder per worker, one processor around all. Faust appears only in app, processor and pages."""
