"""The query of the statistics, shared by the HTTP API and the console."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from gateway.errors import GatewayError, Reason
from runtime.moments import EPOCH
from schemas.text import Filter

Of = Literal["deliveries", "types", "effects", "attempts", "notifications"]
Bucket = Literal["1m", "5m", "1h", "1d"]

WIDTHS: Final[dict[Bucket, timedelta]] = {
    "1m": timedelta(minutes=1), "5m": timedelta(minutes=5), "1h": timedelta(hours=1), "1d": timedelta(days=1),
}  # fmt: skip
BUCKETS_MAX: Final = 400
_BUCKETS: Final = 60


class Period(NamedTuple):
    """A period of whole buckets, `begin` <= time < `end`."""

    begin: datetime
    end: datetime
    width: timedelta


class StatsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The requested figures, their period and the size of a bucket."""

    of: Annotated[
        Of,
        Meta(
            description="`deliveries` by source, `types` by source and type of the event, `effects` by worker, `attempts` to "
            "deliver leads by partner, or `notifications` by channel."
        ),
    ] = "deliveries"
    name: Annotated[Filter, Meta(description="Only the series with this name, such as one partner's.")] | None = None
    bucket: Annotated[Bucket, Meta(description="The size of a bucket.")] = "5m"
    since: (
        Annotated[
            datetime,
            Meta(description=f"The earliest time; by default {_BUCKETS} buckets before the latest, and at most {BUCKETS_MAX}."),
        ]
        | None
    ) = msgspec.field(default=None, name="from")
    until: Annotated[datetime, Meta(description="The latest time, excluded; by default now.")] | None = msgspec.field(
        default=None, name="to"
    )

    def period(self, now: datetime) -> Period:
        """Return the whole buckets that cover the period. Raises GatewayError `query_malformed`."""
        width = WIDTHS[self.bucket]
        end = -(-((self.until or now) - EPOCH) // width)
        begin = (self.since - EPOCH) // width if self.since else max(0, end - _BUCKETS)
        if not begin < end:
            raise GatewayError(Reason.QUERY_MALFORMED, "from is not before to")
        if end - begin > BUCKETS_MAX:
            raise GatewayError(Reason.QUERY_MALFORMED, f"the period has more than {BUCKETS_MAX} buckets: take larger ones")
        try:
            return Period(EPOCH + begin * width, EPOCH + end * width, width)
        except OverflowError as error:
            raise GatewayError(Reason.QUERY_MALFORMED, f"to is beyond {datetime.max.replace(tzinfo=UTC):%Y}") from error
