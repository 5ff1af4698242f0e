"""Partners without a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from projections.roster import Roster
from runtime.seals import Seals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.partners import Partner


def all_known(partners: Mapping[str, Partner]) -> Roster:
    """These partners, and no others that a table may still show."""
    roster = Roster(partners, Seals(()))
    roster.read.set()
    return roster
