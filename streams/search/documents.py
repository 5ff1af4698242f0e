"""
Documents in Elasticsearch: each is written whole, under the version of its aggregate, and is deleted by a mark.

Elasticsearch forgets the version of a document that is really deleted after a minute, and an older write that came later would
bring the document back. So a deleted document stays as a mark with its version, and searches use an alias that leaves marks out.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from elasticsearch import ApiError, AsyncElasticsearch, TransportError

from runtime.failures import Failures
from runtime.service import WHEN_WOKEN, Service
from schemas.search import DELETED
from streams.errors import Transient, TransientReason
from streams.processor import passing_reason

GONE: Final = msgspec.json.encode({DELETED: True})

_CHUNK_BYTES: Final = 8 * 1024 * 1024
_OK: Final = range(200, 300)
_CONFLICT: Final = 409  # the index has this version, or a later one
_BAD_REQUEST, _TOO_LARGE = 400, 413
_NOT_THE_DOCUMENT: Final = {401, 403, 404, 408, 429}  # rights, blocks, a missing index, overload
_SERVER_ERROR: Final = 500
_OF_THE_INDEX: Final = (  # refusals with status 400 that are not the document's either
    "index_closed_exception:",
    "illegal_argument_exception: no write index is defined for alias",  # an operator has put a second index under it
    "illegal_argument_exception: pipeline with id [",  # of the index's settings: it does not exist
    "illegal_argument_exception: number of documents in the index",  # would exceed Lucene's limit; of one shard
    "illegal_argument_exception: Number of documents in the index",
)
_EXISTS: Final = "resource_already_exists_exception"
_FILTERED: Final = "items.*.status,items.*.error.type,items.*.error.reason"


class Change(NamedTuple):
    """A document as of a version: its JSON, or `GONE`."""

    id: str
    version: int
    source: bytes


class Documents:
    """
    The documents of one index.

    Raises Transient `elasticsearch_unavailable` while Elasticsearch does not answer, and `elasticsearch_refuses` while it refuses
    for reasons that are not the document's.
    """

    def __init__(self, client: AsyncElasticsearch, index: str) -> None:
        self._client = client
        self._index = index
        self._ready = False
        self._progressed: Callable[[], None] = lambda: None

    def on_progress(self, progressed: Callable[[], None]) -> None:
        """Call this after each answer to `write`."""
        self._progressed = progressed

    def renew(self, client: AsyncElasticsearch) -> None:
        """Use this client from now on."""
        self._client = client

    def preparing(self) -> Service:
        """Return the service that creates the index if it is missing: a search before the first document should not fail."""

        async def prepare() -> float:
            if not self._ready:
                await self._ensure()
            return WHEN_WOKEN

        return Service("search index", prepare, Failures("search index", postponed="waiting", passing=passing_reason))

    async def write(self, changes: Sequence[Change]) -> list[str | None]:
        """
        Write the changes to the index, except those of which the index has a later version.

        Returns for each change why Elasticsearch will never accept it, or None if it is done.
        """
        if not self._ready:
            await self._ensure(self._progressed)
        outcomes: list[str | None] = []
        for lines in _chunks(changes):
            outcomes += [self._outcome(item) for item in await self._bulk(lines)]
            self._progressed()
        return outcomes

    async def _bulk(self, lines: Sequence[Any]) -> list["_Item"]:
        """Send lines that are JSON already; the client passes them on unchanged, although it declares other types."""
        try:
            # Without require_alias a missing alias would silently become an index of that name.
            answer = await self._client.bulk(index=self._index, operations=lines, require_alias=True, filter_path=_FILTERED)
        except (ApiError, TransportError) as error:
            raise _transient(error) from error
        try:
            items = [each.index for each in msgspec.convert(answer.body, _Answer).items]
        except msgspec.ValidationError as error:
            raise Transient(TransientReason.ELASTICSEARCH_REFUSES, f"the answer is none of a bulk request: {error}") from error
        if len(items) * 2 != len(lines):
            raise Transient(TransientReason.ELASTICSEARCH_REFUSES, "the answer is about another number of documents")
        return items

    def _outcome(self, item: "_Item") -> str | None:
        status = item.status
        if status in _OK or status == _CONFLICT:
            return None
        detail = f"{item.error.type}: {item.error.reason}"
        if status in _NOT_THE_DOCUMENT or status >= _SERVER_ERROR or detail.startswith(_OF_THE_INDEX):
            self._ready = False  # the index may be the thing that is missing
            raise Transient(TransientReason.ELASTICSEARCH_REFUSES, detail)
        return detail

    async def _ensure(self, progressed: Callable[[], None] = lambda: None) -> None:
        """
        Put the template, and make an index under the alias if none is there, such as one that an operator has put there.

        It calls `progressed` after each answer: together they may take longer than a loop may be silent. The service beside the
        batches, which may rest meanwhile, gives no sign of life for them.
        """
        indices = self._client.indices
        try:
            await indices.put_index_template(
                name=f"tallyhook-{self._index}", index_patterns=[f"{self._index}-*"], template=TEMPLATE
            )
            progressed()
            if not await indices.exists_alias(name=self._index):
                progressed()
                await self._make_index(f"{self._index}-1", progressed)
            progressed()
        except ApiError as error:  # also a 400: no document is in these requests, so none may pay for it
            raise _refused(error) from error
        except TransportError as error:
            raise _transient(error) from error
        self._ready = True

    async def _make_index(self, name: str, progressed: Callable[[], None]) -> None:
        indices = self._client.indices
        try:
            await indices.create(index=name, aliases={self._index: {"filter": _NOT_DELETED}})
        except ApiError as error:
            if error.error != _EXISTS:
                raise
            progressed()
            # Another worker was quicker, or an operator has removed the alias.
            await indices.put_alias(index=name, name=self._index, filter=_NOT_DELETED)


class _Error(msgspec.Struct, frozen=True):
    type: str = "error_unknown"
    reason: str | None = None


class _Item(msgspec.Struct, frozen=True):
    status: int
    error: _Error = _Error()


class _Action(msgspec.Struct, frozen=True):
    index: _Item


class _Answer(msgspec.Struct, frozen=True):
    """The answer to a bulk request, as `_FILTERED` selects it."""

    items: list[_Action]


_NOT_DELETED: Final = {"bool": {"must_not": {"term": {DELETED: True}}}}
TEMPLATE: Final = {
    "settings": {"number_of_shards": 1, "auto_expand_replicas": "0-1"},
    # A text stays a text: the first value that looks like a date must not decide the type of the field.
    "mappings": {"date_detection": False, "properties": {DELETED: {"type": "boolean"}}},
}


def _chunks(changes: Sequence[Change]) -> Iterator[list[bytes]]:
    """Yield the lines of bulk requests of bounded size, in order."""
    lines: list[bytes] = []
    size = 0
    for change in changes:
        if lines and size + len(change.source) > _CHUNK_BYTES:
            yield lines
            lines, size = [], 0
        action = {"index": {"_id": change.id, "version": change.version, "version_type": "external"}}
        lines += (msgspec.json.encode(action), change.source)
        size += len(change.source)
    if lines:
        yield lines


def _transient(error: ApiError | TransportError) -> Exception:
    """Return a Transient; or the error itself if the request is at fault, so that the batch is split."""
    if isinstance(error, TransportError):
        return Transient(TransientReason.ELASTICSEARCH_UNAVAILABLE, f"{type(error).__name__}: {error}")
    # A 400 that is not of Elasticsearch is of something before it, such as a proxy that expects TLS: no document is at fault.
    is_its = isinstance(error.body, dict) and "error" in error.body
    if error.status_code == _TOO_LARGE or (error.status_code == _BAD_REQUEST and is_its):
        return error
    return _refused(error)


def _refused(error: ApiError) -> Transient:
    return Transient(TransientReason.ELASTICSEARCH_REFUSES, f"{error.status_code}: {error}")
