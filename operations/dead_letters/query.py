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

_LAST: Final = UUID(int=(1 << 128) - 1)


class DeadLettersQuery(Paged, frozen=True, kw_only=True):
    """Narrows the dead letters: one is meant if it fits all that is given."""

    status: Annotated[Status, Meta(description="Only those of this status; all of them without.")] | None = None
    consumer: Annotated[Filter, Meta(description="Only those of this worker.")] | None = None
    reason: Annotated[Filter, Meta(description="Only those set aside for this reason.")] | None = None
    topic: Annotated[Filter, Meta(description="Only those of this topic.")] | None = None
    fault: (
        Annotated[
            Fault,
            Meta(
                description="`ours` is mended by a deployment, a setting or a caller of ours; `theirs` by a provider or partner."
            ),
        ]
        | None
    ) = None

    def span(self) -> tuple[datetime, tuple[datetime, UUID]]:
        """The time of the first one, and the time and id that the others come before. Raises GatewayError `query_malformed`."""
        begin, end = self.period(EPOCH, up_to(datetime.now(UTC)))
        before = (end, _LAST)
        return begin, min(before, last_of(self.cursor)) if self.cursor else before
