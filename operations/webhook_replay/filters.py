"""The selection of deliveries for a replay: the body of the route, and the options of the command."""

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from operations.errors import OperationError, Reason
from schemas.providers import SOURCES, Mode, either
from schemas.rules import Json, never
from schemas.text import ReasonText, Word

Outcome = Literal["accepted", "duplicate", "ignored", "rejected"]

MATCHED_MAX: Final = 100_000
RATE_DEFAULT: Final = 100.0
RATE_MAX: Final = 1000.0
_IDS_MAX: Final = 1000
_TYPES_MAX: Final = 100

_NARROWING: Final = ("ids", "source", "types", "status", "mode", "account", "endpoint", "from", "to")
_UNKNOWN_OF_REJECTED: Final = {"types": "array", "mode": "string", "account": "string"}

_SOURCES: Final = f"{either(f'`{source}`' for source in SOURCES)}."


class Filters(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The filters of a replay; a delivery has to match all of them. Copies of one event count once."""

    ids: (
        Annotated[tuple[UUID, ...], Meta(min_length=1, max_length=_IDS_MAX), Meta(description="Ids of deliveries, up to 1000.")]
        | None
    ) = None
    source: Annotated[Word, Meta(description=_SOURCES)] | None = None
    types: (
        Annotated[
            tuple[Word, ...],
            Meta(min_length=1, max_length=_TYPES_MAX),
            Meta(description="The provider's types of events."),
        ]
        | None
    ) = None
    status: Annotated[Outcome, Meta(description="The outcome of the delivery.")] | None = None
    mode: Annotated[Mode, Meta(description="`live` or `test`, as the event states it.")] | None = None
    account: Annotated[Word, Meta(description="The provider's account, as the event states it.")] | None = None
    endpoint: Annotated[Word, Meta(description="The provider's endpoint at which they arrived, such as `eu`.")] | None = None
    since: (
        Annotated[datetime, Meta(description="The earliest time of arrival, included; UTC unless it has an offset.")] | None
    ) = msgspec.field(default=None, name="from")
    until: Annotated[datetime, Meta(description="The latest time of arrival, excluded; UTC unless it has an offset.")] | None = (
        msgspec.field(default=None, name="to")
    )
    limit: (
        Annotated[int, Meta(ge=1, le=MATCHED_MAX), Meta(description="The maximum number of deliveries; the oldest are taken.")]
        | None
    ) = None

    def check(self) -> None:
        """
        Refuse filters that select every delivery, or none.

        Raises OperationError `filter_missing`, `filter_contradictory`.
        """
        if all(getattr(self, name) is None for name in Filters.__struct_fields__ if name != "limit"):
            raise OperationError(Reason.FILTER_MISSING, f"give at least one of {', '.join(_NARROWING)}")
        for name in _UNKNOWN_OF_REJECTED:
            if getattr(self, name) and self.status == "rejected":
                text = f"the {name.removesuffix('s')} of a rejected delivery is unknown: leave {name} out"
                raise OperationError(Reason.FILTER_CONTRADICTORY, text)
        if self.since and self.until and self.since >= self.until:
            raise OperationError(Reason.FILTER_CONTRADICTORY, "from is not before to")


class ReplayWebhooks(Filters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The deliveries to replay: those that match every filter; one besides `limit` is required.

    `from` has to be before `to`. `types`, `mode` and `account` are unknown for rejected deliveries.
    """

    rate: Annotated[
        float, Meta(gt=0, le=RATE_MAX), Meta(description="The maximum number of deliveries per second; 100 by default.")
    ] = RATE_DEFAULT
    dry_run: Annotated[bool, Meta(description="Count the deliveries only, and change nothing.")] = False
    reason: Annotated[ReasonText, Meta(description="The reason for the replay; it is kept with it.")] | None = None

    rules: ClassVar[Json] = never(
        {"type": "object", "properties": {name: {"type": "null"} for name in _NARROWING}},
        *(
            {
                "type": "object",
                "properties": {name: {"type": kind}, "status": {"const": "rejected"}},
                "required": [name, "status"],
            }
            for name, kind in _UNKNOWN_OF_REJECTED.items()
        ),
    )

    @property
    def filters(self) -> Filters:
        """The filters without the other options; a time without an offset is UTC."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in Filters.__struct_fields__}
        return Filters(**fields | {"since": _utc(self.since), "until": _utc(self.until)})


def _utc(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)
