"""What our own services say about documents that can be searched for."""

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from aiohttp import web
from msgspec import Meta

from gateway import bodies
from gateway.commands.acceptance import accepted, record_in
from gateway.errors import GatewayError, Reason
from gateway.keys import CALL
from gateway.postgres import transaction
from outbox.append import event_of
from projections.search import take_version
from schemas.rules import Json
from schemas.search import DELETED, INDEXES, PropertyDeleted, PropertyUpserted
from schemas.text import DocumentId

SOURCE: Final = "/internal/search"

_VERSION_MAX: Final = 2**62  # far below what Postgres and Elasticsearch hold: a document's own next version always fits

Version = Annotated[int, Meta(ge=0, le=_VERSION_MAX)]


class ChangeDocument(msgspec.Struct, frozen=True):
    """A document as it is now, or that it is gone; without a version it gets the one after its highest so far."""

    index: Annotated[str, Meta(extra_json_schema={"enum": list(INDEXES)})]
    id: DocumentId
    op: Literal["upsert", "delete"]
    doc: Annotated[dict[str, Any], Meta(extra_json_schema={"propertyNames": {"not": {"const": DELETED}}})] | None = None
    version: Version | None = None

    rules: ClassVar[Json] = {
        "if": {"type": "object", "properties": {"op": {"const": "upsert"}}},
        "then": {"type": "object", "properties": {"doc": {"type": "object"}}, "required": ["doc"]},
    }


async def index(request: web.Request) -> web.Response:
    """Write the change down as an event of its document; the task tells when the index has it."""
    change = await bodies.read(request, ChangeDocument)
    check(change)
    call = request[CALL]
    async with transaction(request) as connection:
        version = await take_version(connection, change.index, change.id, change.version)
        event = event_of(
            record_of(change, version),
            aggregate_id=change.id,
            source=SOURCE,
            occurred_at=datetime.now(UTC),
            trace=call.trace,
            version=version,
        )
        task_id = await record_in(request, connection, "search.index", event)
    return accepted(task_id)


def check(change: ChangeDocument) -> None:
    """Raises GatewayError: `index_unknown`, or `field_invalid` naming the field."""
    if change.index not in INDEXES:
        raise GatewayError(Reason.INDEX_UNKNOWN, f"index is one of: {', '.join(INDEXES)}")
    if change.op == "upsert" and change.doc is None:
        raise GatewayError(Reason.FIELD_INVALID, "`doc` is missing, which an upsert needs")
    if change.doc and DELETED in change.doc:
        raise GatewayError(Reason.FIELD_INVALID, f"`doc` has a field `{DELETED}`, which is the index's own")


def record_of(change: ChangeDocument, version: int) -> PropertyUpserted | PropertyDeleted:
    """The event's data, of the kind that belongs to the index."""
    kinds = INDEXES[change.index]
    if change.op == "delete" or change.doc is None:
        return kinds.deleted(id=change.id, version=version)
    return kinds.upserted(id=change.id, version=version, doc=change.doc)
