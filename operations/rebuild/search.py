"""Rebuild the search index: the versions of its documents in Postgres, and the documents in Elasticsearch."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from elasticsearch import ApiError, AsyncElasticsearch, TransportError
from psycopg import AsyncConnection, Connection
from psycopg.rows import dict_row

from operations.errors import OperationError, Reason
from operations.rebuild.sources import Events, Part, Source
from outbox.erased import is_marker
from projections.search import raise_versions
from projections.search_tables import search_documents
from runtime.servers import ElasticsearchSettings
from schemas.envelope import Event
from schemas.search import PROPERTIES
from schemas.topics import Topic
from streams.search.documents import Change, Documents
from streams.search.handler import change_of

_PAGE: Final = 500
_WANTED: Final = "select id, 0 from public.outbox where topic = 'property.events' and id >= {since}"
_VERDICT: Final = """
case when l.id is null then 'missing' when s.id is null or l.version > s.version then 'kept' else 'behind' end
"""
# The latest event of each document among those that the worker has handled.
_LATEST: Final = f"""
select distinct on (o.aggregate_id) o.aggregate_id, o.aggregate_version, o.id from outbox o
  join consumed c on c.event_id = o.id and c.consumer = 'search'
where o.topic = 'property.events' and not {is_marker("o.data")} order by o.aggregate_id, o.aggregate_version desc, o.id desc
"""
_KNOWN: Final = "select id from search_documents where index_name = %s"
_EVENTS: Final = """
select id, topic, aggregate_id, source, type, dataschema, occurred_at, traceparent, data
from outbox where id = any(%s)
"""


class VersionsHandler:
    """Stores the highest version of each document, as a `streams.role.Handler`."""

    consumer: Final = "search"

    async def handle(self, connection: AsyncConnection, events: Sequence[Event]) -> None:
        changes = [change_of(event) for event in events]
        await raise_versions(connection, PROPERTIES.name, [(change.id, change.version) for change in changes])


def source() -> Source:
    return Source(
        name="search",
        tables=["search_documents"],
        parts=[Part(search_documents, _VERDICT)],
        locks=["search_documents"],
        events=Events(VersionsHandler(), _WANTED, (Topic.PROPERTIES,)),
    )


@dataclass(frozen=True)
class Indexed:
    """
    The documents of the index: `log` is their number in the log, and `missing` were not in the index in their latest version.

    Of the missing ones, `written` are in the index now, and `refused` were not accepted. `lost` documents are neither in the
    index nor in the log.
    """

    log: int
    missing: int
    written: int
    refused: int
    lost: int


async def reindex(connection: Connection, settings: ElasticsearchSettings, *, dry_run: bool) -> Indexed:
    """
    Write every document that the index does not have in its latest version; a later version in the index stays.

    Raises OperationError `elasticsearch_unavailable`.
    """
    latest = {key: (version, event_id) for key, version, event_id in connection.execute(_LATEST).fetchall()}
    try:
        async with AsyncElasticsearch(settings.elasticsearch_url, request_timeout=30, **settings.elasticsearch_options) as client:
            known = [row[0] for row in connection.execute(_KNOWN, (PROPERTIES.name,)).fetchall() if row[0] not in latest]
            missing = await _missing(client, {key: version for key, (version, _) in latest.items()})
            lost = len(await _missing(client, dict.fromkeys(known, 0)))
            if dry_run or not missing:
                return Indexed(len(latest), len(missing), 0, 0, lost)
            documents, refused = Documents(client, PROPERTIES.name), 0
            for page in _pages(missing):
                changes = list(_changes(connection, [latest[key][1] for key in page]))
                refused += sum(refusal is not None for refusal in await documents.write(changes))
            await client.indices.refresh(index=PROPERTIES.name)
            left = await _missing(client, {key: latest[key][0] for key in missing})
            return Indexed(len(latest), len(missing), len(missing) - len(left), refused, lost)
    except (ApiError, TransportError) as error:
        raise OperationError(Reason.ELASTICSEARCH_UNAVAILABLE, f"{type(error).__name__}: {error}") from error


async def _missing(client: AsyncElasticsearch, wanted: Mapping[str, int]) -> list[str]:
    """Return the documents that the index does not have in that version or a later one."""
    if not await client.indices.exists(index=PROPERTIES.name):
        return list(wanted)
    missing = []
    for page in _pages(list(wanted)):
        answer = await client.mget(index=PROPERTIES.name, ids=page, source=False)
        found = {each["_id"]: each.get("_version", -1) if each.get("found") else -1 for each in answer["docs"]}
        missing += [key for key in page if found.get(key, -1) < wanted[key]]
    return missing


def _changes(connection: Connection, ids: Sequence[UUID]) -> Iterable[Change]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows: list[dict[str, Any]] = cursor.execute(_EVENTS, (list(ids),)).fetchall()
    return (change_of(Event(**row)) for row in rows)


def _pages(keys: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(keys), _PAGE):
        yield list(keys[start : start + _PAGE])
