"""The effects: one folder per worker, one processor around all. `pyproject.toml` names the modules that run Faust."""
