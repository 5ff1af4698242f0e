"""The selection of deliveries for a replay: the body of the route, and the options of the command."""

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from operations.errors import OperationError, Reason
from schemas.rules import Json, never
from schemas.stripe import Mode
from schemas.text import Why, Word

Outcome = Literal["accepted", "duplicate", "ignored", "rejected"]

MATCHED_MAX: Final = 100_000
RATE_DEFAULT: Final = 100.0
RATE_MAX: Final = 1000.0
_IDS_MAX: Final = 1000
_TYPES_MAX: Final = 100

_NARROWING: Final = ("ids", "source", "types", "status", "mode", "account", "from", "to")
_UNKNOWN_OF_REJECTED: Final = ("types", "mode", "account")


class Filters(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """
    Select the deliveries that fit all of it, by their time of arrival; with a limit the oldest.

    Copies of one event count once, by the delivery that was accepted where that is among them. `mode` finds what states that
    mode.
    """

    ids: (
        Annotated[tuple[UUID, ...], Meta(min_length=1, max_length=_IDS_MAX), Meta(description="The ids of the deliveries.")]
        | None
    ) = None
    source: Annotated[Word, Meta(description="Who sent them: stripe, razorpay or partner.")] | None = None
    types: (
        Annotated[
            tuple[Word, ...],
            Meta(min_length=1, max_length=_TYPES_MAX),
            Meta(description="The types of their events, in the sender's words."),
        ]
        | None
    ) = None
    status: Annotated[Outcome, Meta(description="How they were answered.")] | None = None
    mode: Annotated[Mode, Meta(description="The mode that their events state; those that state none are left out.")] | None = None
    account: Annotated[Word, Meta(description="The provider's account that they are of, acct_… for one.")] | None = None
    since: Annotated[datetime, Meta(description="Those that came at or after this time.")] | None = msgspec.field(
        default=None, name="from"
    )
    until: Annotated[datetime, Meta(description="Those that came before this time.")] | None = msgspec.field(
        default=None, name="to"
    )
    limit: Annotated[int, Meta(ge=1, le=MATCHED_MAX), Meta(description="How many at most, the oldest.")] | None = None

    def check(self) -> None:
        """
        Refuse what selects everything or nothing.

        Raises OperationError.
        """
        if all(getattr(self, name) is None for name in Filters.__struct_fields__ if name != "limit"):
            raise OperationError(Reason.FILTER_MISSING, f"name the deliveries by at least one of {', '.join(_NARROWING)}")
        for name in _UNKNOWN_OF_REJECTED:
            if getattr(self, name) and self.status == "rejected":
                text = f"the {name.removesuffix('s')} of a rejected delivery is not known: leave {name} out"
                raise OperationError(Reason.FILTER_CONTRADICTORY, text)
        if self.since and self.until and self.since >= self.until:
            raise OperationError(Reason.FILTER_CONTRADICTORY, "from is not before to")


class ReplayWebhooks(Filters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    Take the deliveries up again that fit all of it; at least one of the first eight has to be there.

    `from` is before `to`, and `types`, `mode` and `account` are not known of what was `rejected`. Times are in UTC unless they
    name a zone.
    """

    rate: Annotated[float, Meta(gt=0, le=RATE_MAX), Meta(description="How many a second at most; 100 by default.")] = RATE_DEFAULT
    dry_run: Annotated[bool, Meta(description="Show what would happen, and change nothing.")] = False
    reason: Annotated[Why, Meta(description="Why; it is kept with the replay.")] | None = None

    rules: ClassVar[Json] = never(
        {"type": "object", "properties": {name: {"type": "null"} for name in _NARROWING}},
        *(
            {
                "type": "object",
                "properties": {name: {"type": ["array", "string"]}, "status": {"const": "rejected"}},
                "required": [name, "status"],
            }
            for name in _UNKNOWN_OF_REJECTED
        ),
    )

    @property
    def filters(self) -> Filters:
        """The deliveries that are meant."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in Filters.__struct_fields__}
        return Filters(**fields | {"since": _utc(self.since), "until": _utc(self.until)})


def _utc(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)
