"""The workers: one folder for each role, and one processor for all. `pyproject.toml` names the modules that run Faust."""
