"""The check of `up` before it starts anything: the settings of every process, with all problems at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ops.dev.secrets_file import NEEDED
from ops.settings.review import review
from ops.stack.stack import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_OWN_SERVERS: Final = {
    "postgres": "postgresql://postgres@127.0.0.1:5432/tallyhook",
    "kafka": "127.0.0.1:9092",
    "redis": "redis://127.0.0.1:6379/0",
    "elasticsearch": "http://127.0.0.1:9200",
}
"""As `up` makes them where no server is set."""


def check_settings(checkout: Path, say: Callable[[str], None]) -> None:
    """
    Report every doubtful setting of a checkout; errors raise SettingsError.

    Raises SettingsError with everything that would keep one of the processes from starting.
    """
    provided = {VARIABLES[name]: address for name, address in _OWN_SERVERS.items()}
    provided |= {name: make() for name, make in NEEDED.items()}
    found = review(checkout, provided=provided, one_machine=True)
    for warning in found.warnings:
        say(f"warning: {warning}")
    found.check()
