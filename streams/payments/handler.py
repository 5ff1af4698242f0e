"""The effects of a batch of provider events: state, history, reconciliation and new events, in one transaction."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final
from uuid import UUID

import structlog
from msgspec.structs import replace
from psycopg import AsyncConnection, Rollback

from outbox.append import append
from schemas.envelope import Event
from schemas.foreign_json import UNSTORABLE
from schemas.providers import providers
from schemas.stripe_thin import DATASCHEMA as THIN
from schemas.topics import Topic
from streams.errors import Poison
from streams.payments import store
from streams.payments.facts import Fact, note_left_out, storable, unlogged
from streams.payments.fetching.store import want
from streams.payments.fetching.wanted import of_contests, of_thin_events
from streams.payments.steps import Interpreted, Steps, claims_of, emitted, key_of, lines_of, take
from streams.payments.store import Loaded, row_of, state_in
from streams.role import role_of

log = structlog.get_logger()

_INTERPRETERS: Final[Mapping[str, Callable[[str, bytes], list[Fact]]]] = {
    provider.type_prefix: provider.part("streams.payments", "facts_of") for provider in providers()
}
"""The functions that extract the facts from an event, by the prefix of its type."""
_TO_PEOPLE: Final = frozenset({Topic.NOTIFICATION_COMMANDS, Topic.ALERTS})


class PaymentsHandler:
    """
    The payments worker, as a `streams.role.Handler`.

    An event of a type without a handler has no facts and changes nothing. An event that cannot be interpreted raises Poison with
    its id, before anything is written.

    If it `fetches`, it requests the objects that thin events name; if it `decides` too, also those whose events of one second
    cannot be put in order. A process that rebuilds from the log does neither: the log has the answers.
    """

    consumer: Final = "payments"

    def __init__(self, *, fetches: bool = False, decides: bool = False) -> None:
        self._fetches = fetches
        self.decides = decides

    async def handle(self, connection: AsyncConnection, events: Sequence[Event]) -> None:
        steps = await _take(connection, events, append)
        contests = of_contests(steps, decides=self.decides)
        if self._fetches and (wanted := [*of_thin_events(events), *contests]):
            await want(connection, wanted)

    async def restore(self, connection: AsyncConnection, events: Sequence[Event]) -> None:
        """Emit the news again under the replay's id, without the messages to people and the alerts."""
        replays = dict[UUID | None, UUID | None]((event.id, event.replay_id) for event in events)

        async def emit(connection: AsyncConnection, news: Sequence[Event]) -> None:
            kept = (event for event in news if event.topic not in _TO_PEOPLE)
            await append(connection, [replace(event, replay_id=replays.get(event.causation_id)) for event in kept])

        await _take(connection, events, emit)


_Emit = Callable[[AsyncConnection, Sequence[Event]], Awaitable[None]]


async def _take(connection: AsyncConnection, events: Sequence[Event], emit: _Emit) -> Steps:
    read = [_interpret(event) for event in events]
    for event, _, facts in read:
        if not facts and event.dataschema != THIN:
            log.info("event_says_nothing", event_id=event.id, type=event.type)
    interpreted = [found for found in read if found.facts]
    # Another worker may be the first to insert one of our new rows; the next attempt finds that row, so this ends.
    while interpreted:
        if (steps := await _apply(connection, interpreted, emit)) is not None:
            return steps
    return {}


REBUILDING: Final = role_of(PaymentsHandler())
"""The role for a replay of the log: it fetches nothing."""


def steps_of(events: Sequence[Event]) -> Steps:
    """
    Return the steps of these events alone, in their order and without an earlier state; nothing is logged.

    Raises Poison for one that cannot be interpreted.
    """
    of_providers = tuple(_INTERPRETERS)
    with unlogged():
        interpreted = [_interpret(event) for event in events if event.type.startswith(of_providers)]
    return take(interpreted, {}, Loaded({}, set()))


def _interpret(event: Event) -> Interpreted:
    kind, facts = event.type, list[Fact]()
    try:
        for prefix, facts_of in _INTERPRETERS.items():
            if event.type.startswith(prefix):
                kind = event.type.removeprefix(prefix)
                facts = facts_of(kind, event.data)
        if UNSTORABLE.search(event.data):
            facts = _storable(event, facts)
    except Poison as poison:
        raise Poison(poison.reason, str(poison), event.id) from poison
    if event.livemode is not None or event.account is not None:
        facts = [replace(fact, livemode=event.livemode, account=event.account) for fact in facts]
    return Interpreted(event, kind, facts)


def _storable(event: Event, facts: Sequence[Fact]) -> list[Fact]:
    checked = [storable(fact) for fact in facts]
    note_left_out(sorted({name for _, names in checked for name in names}), event_id=event.id, type=event.type)
    return [fact for fact, _ in checked]


async def _apply(connection: AsyncConnection, interpreted: Sequence[Interpreted], emit: _Emit) -> Steps | None:
    """Make one attempt, in three round trips: lock and load, write and compare, emit the news."""
    async with connection.pipeline() as pipeline, connection.transaction() as attempt:
        keys = {key_of(fact) for _, _, facts in interpreted for fact in facts}
        loaded = await store.load(connection, pipeline, keys, lines_of(interpreted))
        states = {key: (state_in(key, row), row.version) for key, row in loaded.held.items()}
        steps = take(interpreted, states, loaded)
        rows = {key: row_of(taken[-1].new, taken[-1].version) for key, taken in steps.items()}
        saved = await store.save(connection, pipeline, rows, loaded.held, claims_of(steps))
        if saved is None:
            raise Rollback(attempt)
        await emit(connection, emitted(steps, saved))
        return steps
    return None
