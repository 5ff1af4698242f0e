"""The errors that a command may end with, each as one line for people."""

import psycopg

from operations.output import CommandError, printable
from runtime.database import is_missing_day
from runtime.errors import Failure
from runtime.redaction import error_text
from runtime.settings import SettingsError


def text_of(error: Exception) -> str | None:
    """The line for an expected error; None for any other."""
    match error:
        case SettingsError() | CommandError():
            return printable(str(error))
        case psycopg.Error() if is_missing_day(error):
            return (
                "partition_missing: `tallyhook retention` makes the day, unless the clock of this machine or of Postgres is wrong"
            )
        case psycopg.Error():
            return printable(f"Postgres: {error_text(error).partition(chr(10))[0]}")
        case Failure():
            return printable(f"{error.reason}: {error}")
        case _:
            return None
