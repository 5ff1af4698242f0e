"""The selection of dead letters: the query of the list, and the options of the command."""

from datetime import UTC, datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from msgspec import Meta

from gateway.paging import Paged, last_of, up_to
from operations.dead_letters.causes import Fault
from runtime.moments import EPOCH
from schemas.text import Filter

Status = Literal["open", "retried", "discarded"]

Place = tuple[datetime, UUID]
"""The place of a dead letter in the list, which is ordered by these two."""

FIRST_ID: Final = UUID(int=0)
"""Lower than every other id of the same time."""


class DeadLettersQuery(Paged, frozen=True, kw_only=True):
    """Narrows the dead letters: one matches if it fits all given fields."""

    status: Annotated[Status, Meta(description="Only dead letters with this status.")] | None = None
    consumer: Annotated[Filter, Meta(description="Only dead letters of this worker role.")] | None = None
    reason: Annotated[Filter, Meta(description="Only dead letters with this reason.")] | None = None
    topic: Annotated[Filter, Meta(description="Only dead letters of records of this topic.")] | None = None
    fault: (
        Annotated[
            Fault,
            Meta(description="Only dead letters that we have to repair (`ours`) or a provider or partner (`theirs`)."),
        ]
        | None
    ) = None

    def span(self, after: Place | None = None) -> tuple[Place, Place]:
        """The places between which the dead letters are, both excluded. Raises GatewayError `query_malformed`."""
        begin, end = self.period(EPOCH, up_to(datetime.now(UTC)))
        first, before = (begin, FIRST_ID), (end, FIRST_ID)
        return max(first, after or first), min(before, last_of(self.cursor)) if self.cursor else before
