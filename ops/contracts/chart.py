"""
The settings that the chart may set: `python -m ops.contracts.chart` writes their names for its templates.

With `--check` nothing is written, and the exit code reports whether the file matches the declarations of the settings.
"""

import sys
from pathlib import Path
from typing import Final

from ops.contracts.records import publish
from ops.settings.kinds import PublishedPorts
from ops.settings.review import SETTINGS

FILE: Final = Path(__file__).parents[2] / "deploy/helm/tallyhook/files/settings.txt"
_OF_COMPOSE: Final = {"POSTGRES_PASSWORD"} | {field.upper() for field in PublishedPorts.model_fields}


def names() -> bytes:
    """The names of all settings that processes read, one per line; those that only docker-compose.yml reads are left out."""
    return "".join(f"{name}\n" for name in sorted(SETTINGS - _OF_COMPOSE)).encode()


if __name__ == "__main__":
    sys.exit(publish(FILE, names(), sys.argv[1:], "python -m ops.contracts.chart"))
