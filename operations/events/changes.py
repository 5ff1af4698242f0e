"""
The change of money by an event: the states before it and with it, folded again from the log.

Tables hold current states only. The payments worker's fold is a pure function of the events, so the state at any time is the fold
of the events until then.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from projections.reads import camel
from projections.tables import disputes, invoices, payments, refunds, subscriptions
from schemas.currencies import NO_CURRENCY
from schemas.envelope import Event, format_time
from streams.errors import Poison
from streams.payments.handler import steps_of
from streams.payments.states import State
from streams.payments.steps import Step, Steps
from streams.payments.store import Key, Kind, row_of

_EARLIER_MAX: Final = 200
"""The maximum number of earlier events of one aggregate that are folded."""
_BYTES_MAX: Final = 8 * 1024 * 1024
"""The maximum number of bytes of events that are folded for one request."""
_TABLES: Final = {"payment": payments, "refund": refunds, "dispute": disputes, "subscription": subscriptions, "invoice": invoices}
_KEPT: Final = frozenset({"provider", "id", "version", "updated_at", "state"})
"""Columns that are not listed as changes: they name the row, or change with every event."""
_ATTRIBUTES: Final = ", ".join(f"o.{name}" for name in Event.__struct_fields__ if name not in {"replay_id", "content_type"})
_OWN: Final = f"select {_ATTRIBUTES} from outbox o where o.id = %s"
_HISTORY: Final = f"""
select {{}} from history h left join outbox o on o.id = h.event_id
where h.aggregate_id = %s and h.aggregate_type = %s and h.event_id <= %s order by h.event_id limit {_EARLIER_MAX + 1}
"""
_UNTIL: Final = _HISTORY.format(_ATTRIBUTES)
_SIZE: Final = f"select coalesce(sum(size), 0) from ({_HISTORY.format('octet_length(o.data) as size')}) e"


class FieldChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A field that has another value since the event."""

    name: str  #: The field, by its name in the thing's own answer.
    before: str | None = None  #: The value before; absent if there was none.
    after: str | None = None  #: The value with the event; absent if there is none.


class StateChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The change of one payment, refund, dispute, subscription or invoice by the event."""

    kind: Kind  #: The kind of the thing.
    id: str  #: The provider's id of the thing.
    provider: str  #: The provider.
    currency: str = NO_CURRENCY  #: The currency of its amounts, ISO 4217 in lower case; `xxx` if unknown or if it has none.
    fields: list[FieldChange] = []  #: The fields that changed; empty if the event changed none.
    unknown: bool = False  #: True if an earlier event cannot be read any more, or there are too many: no field is listed.


async def changes(connection: AsyncConnection, event_id: UUID) -> list[StateChange]:
    """Return one change per aggregate; none if the event is not a provider's, or cannot be handled."""
    own = await _events(connection, _OWN, event_id)
    moved = _steps_of([event for event in own if event]) or {}
    found, left = list[StateChange](), _BYTES_MAX
    for key in moved:
        size = await _size(connection, key, event_id)
        events = await _events(connection, _UNTIL, key.id, key.kind, event_id) if size <= left else [None]
        left -= min(size, left)
        whole = len(events) <= _EARLIER_MAX and None not in events
        found.append(_change(key, event_id, _steps_of([event for event in events if event]) if whole else None))
    return found


async def _size(connection: AsyncConnection, key: Key, event_id: UUID) -> int:
    row = await (await connection.execute(_SIZE, (key.id, key.kind, event_id))).fetchone()
    return int(row[0]) if row else 0


def _change(key: Key, event_id: UUID, steps: Steps | None) -> StateChange:
    if steps is None:
        return StateChange(kind=key.kind, id=key.id, provider=key.provider, unknown=True)
    step = next((step for step in steps.get(key, ()) if step.event.id == event_id), None)
    return StateChange(kind=key.kind, id=key.id, provider=key.provider, **(_changed_fields(key.kind, step) if step else {}))


def _steps_of(events: Sequence[Event]) -> Steps | None:
    """Return the steps of these events; None if one of them cannot be interpreted, for example after an erasure."""
    try:
        return steps_of(events)
    except Poison:
        return None


def _changed_fields(kind: Kind, step: Step) -> dict[str, Any]:
    before, after = _columns(kind, step.old) if step.old else {}, _columns(kind, step.new)
    changed = [name for name in after if after[name] != before.get(name)]
    fields = [FieldChange(name=camel(name), before=_text(before.get(name)), after=_text(after[name])) for name in changed]
    return {"fields": fields, "currency": after.get("currency") or NO_CURRENCY}


def _columns(kind: Kind, state: State) -> dict[str, Any]:
    values = zip((column.name for column in _TABLES[kind].columns), row_of(state, 0), strict=True)
    return {name: value for name, value in values if name not in _KEPT}


def _text(value: object) -> str | None:
    match value:
        case None | str():
            return value
        case bool():
            return str(value).lower()
        case datetime():
            return format_time(value)
    return str(value)


async def _events(connection: AsyncConnection, query: str, *values: Any) -> Sequence[Event | None]:
    """The events that the query selects; None for one that is past retention."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, values)
        return [Event(**row) if row["id"] else None for row in await cursor.fetchall()]
