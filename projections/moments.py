"""Times as they are shown: Postgres can store some that neither Python nor RFC 3339 can express."""

from typing import Any

from sqlalchemy import DateTime, case, func, literal
from sqlalchemy.sql.elements import ColumnElement

from schemas.envelope import EARLIEST, LATEST


def readable(moment: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the time, or the nearest one that can be shown; null stays null."""
    kind = DateTime(timezone=True)
    nearest = func.least(func.greatest(moment, literal(EARLIEST, kind)), literal(LATEST, kind), type_=kind)
    return case((moment.is_not(None), nearest))  # `greatest` ignores a null
