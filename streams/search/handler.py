"""Handles changes to documents: they are written to the index, and each task is finished."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Final

import msgspec
from elasticsearch import AsyncElasticsearch
from psycopg import AsyncConnection

from outbox import tasks
from projections.search import raise_versions
from runtime.database import Pool
from runtime.sessions import DEFAULT_LEASE, kept_alive
from schemas.envelope import Event
from schemas.search import PROPERTIES, PropertyDeleted, PropertyUpserted
from streams.errors import Poison, PoisonReason
from streams.records import data_of
from streams.role import Role, Running
from streams.search.documents import GONE, Change, Documents
from streams.settings import SearchSettings

_PATIENCE: Final = 30.0  # seconds


class SearchHandler:
    """
    The search worker, as a `streams.role.Handler`.

    A batch that comes again finds its own versions in the index, which counts as done.
    """

    consumer: Final = "search"

    def __init__(self, documents: Documents, lease: timedelta = DEFAULT_LEASE) -> None:
        self._documents = documents
        self._lease = lease

    def on_progress(self, progressed: Callable[[], None]) -> None:
        self._documents.on_progress(progressed)

    async def handle(self, connection: AsyncConnection, events: Sequence[Event]) -> None:
        changes = [change_of(event) for event in events]
        async with kept_alive(connection, self._lease):  # Elasticsearch may take longer than a transaction may be silent
            refusals = await self._documents.write(changes)
        refused = [(event.id, refusal) for event, refusal in zip(events, refusals, strict=True) if refusal]
        if refused:
            (first, reason), *others = refused
            raise Poison(PoisonReason.DOCUMENT_REFUSED, reason, first, [event_id for event_id, _ in others])
        await tasks.finish_all(
            connection,
            {event.id: {"id": change.id, "version": change.version} for event, change in zip(events, changes, strict=True)},
        )

    async def restore(self, connection: AsyncConnection, events: Sequence[Event]) -> None:
        """Index the changes again, and raise the versions to theirs: a version that is used twice would change nothing."""
        await self.handle(connection, events)
        changes = [change_of(event) for event in events]
        await raise_versions(connection, PROPERTIES.name, [(change.id, change.version) for change in changes])


def change_of(event: Event) -> Change:
    change = data_of(event, PropertyUpserted, PropertyDeleted)
    source = msgspec.json.encode(change.doc) if isinstance(change, PropertyUpserted) else GONE
    return Change(change.id, change.version, source)


@asynccontextmanager
async def _opened(settings: SearchSettings, _: Pool) -> AsyncIterator[Running]:
    async with AsyncExitStack() as exits:

        def client(settings: SearchSettings) -> AsyncElasticsearch:
            url, options = settings.elasticsearch_url, settings.elasticsearch_options
            # The processor waits and retries, so the client tries once.
            made = AsyncElasticsearch(url, request_timeout=_PATIENCE, max_retries=0, **options)
            exits.push_async_callback(made.close)
            return made

        documents = Documents(client(settings), PROPERTIES.name)
        settings.on_change(lambda newest: documents.renew(client(newest)), "elasticsearch_url", "elasticsearch_api_key")
        yield Running(SearchHandler(documents, settings.lock_lease), (documents.preparing(),))


SEARCH: Final = Role(SearchHandler.consumer, _opened, SearchSettings)
