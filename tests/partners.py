"""Partners and endpoints without a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from projections.endpoints import Endpoints
from projections.roster import Roster
from projections.senders import Senders
from runtime.seals import Seals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.partners import Partner


def all_known(partners: Mapping[str, Partner]) -> Roster:
    """These partners, and no others that a table may still show."""
    roster = Roster(partners, Seals(()))
    roster.read.set()
    return roster


def known_senders(partners: Mapping[str, Partner]) -> Senders:
    """These partners, and no endpoint."""
    endpoints = Endpoints(Seals(()))
    endpoints.read.set()
    return Senders(all_known(partners), endpoints)
