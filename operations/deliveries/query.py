"""The query of the delivery log."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from msgspec import Meta

from gateway.paging import Paged, up_to
from operations.ledger.states import Settled
from runtime.ids import is_time_ordered, time_of
from runtime.moments import EPOCH
from schemas.providers import SOURCES, Mode, either, providers
from schemas.text import Filter, TraceId

Outcome = Literal["accepted", "duplicate", "ignored", "rejected"]

# The id of a trace that began here is the id of its first call, so its deliveries have ids of about that time. A trace that a
# caller began may be of any time: the last day is searched, unless the query names a time. An index would slow every webhook.
_TRACE_LASTS: Final = timedelta(minutes=10)
_TRACE_SEARCHED: Final = timedelta(days=1)
_TRACES_KEPT: Final = timedelta(days=3660)

_SOURCES: Final = f"Only deliveries of this source: {either(f'`{source}`' for source in SOURCES)}."
_PREFIXES: Final = either(f"{provider.title}'s `{provider.account_prefix}…`" for provider in providers())
_ACCOUNTS: Final = f"Only deliveries of this account: {_PREFIXES}."


class DeliveriesQuery(Paged, frozen=True, kw_only=True):
    """Narrows the delivery log: a delivery is listed if it fits all given fields."""

    source: Annotated[Filter, Meta(description=_SOURCES)] | None = None
    type: Annotated[Filter, Meta(description="Only deliveries of events of this type of the provider.")] | None = None
    outcome: Annotated[Outcome, Meta(description="Only deliveries with this outcome.")] | None = None
    reason: Annotated[Filter, Meta(description="Only deliveries that were rejected or ignored for this reason.")] | None = None
    mode: Annotated[Mode, Meta(description="Only deliveries of events that state this mode.")] | None = None
    account: Annotated[Filter, Meta(description=_ACCOUNTS)] | None = None
    endpoint: Annotated[Filter, Meta(description="Only deliveries by this endpoint of their source, such as `eu`.")] | None = None
    settled: (
        Annotated[
            Settled, Meta(description="Only accepted deliveries in this state; `missing` deliveries have lost their event.")
        ]
        | None
    ) = None
    trace: Annotated[TraceId, Meta(description="Only deliveries of this trace, the `X-Trace-Id` of their answers.")] | None = None

    def span(self, now: datetime) -> tuple[UUID, UUID]:
        """The span of ids to search, `first` <= id < `before`. Raises GatewayError `query_malformed`."""
        return self.ids(now, *self._times(now))

    def columns(self) -> dict[str, Any]:
        """The columns of the log with the values that they must have."""
        livemode = None if self.mode is None else self.mode == "live"
        names = ("source", "type", "outcome", "reason", "account", "endpoint")
        values = {name: getattr(self, name) for name in names} | {"livemode": livemode, "trace_id": self.trace}
        return {name: value for name, value in values.items() if value is not None}

    def _times(self, now: datetime) -> tuple[datetime, datetime]:
        end = up_to(now)
        if self.trace is None:
            return EPOCH, end
        first_id = UUID(self.trace)
        if is_time_ordered(first_id) and now - _TRACES_KEPT < time_of(first_id) < end:
            began = time_of(first_id)
            return began, began + _TRACE_LASTS
        return now - _TRACE_SEARCHED, end
