"""The command that changes a document of the search index."""

from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from aiohttp import web
from msgspec import Meta

from gateway import bodies
from gateway.commands.acceptance import Command, accepted, submit_in
from gateway.errors import GatewayError, Reason
from gateway.postgres import transaction
from projections.search import take_version
from schemas.rules import Json
from schemas.search import DELETED, INDEXES, PropertyDeleted, PropertyUpserted
from schemas.text import DocumentId

SOURCE: Final = "/internal/search"

_VERSION_MAX: Final = 2**62  # far below what Postgres and Elasticsearch hold: a document's own next version always fits

Version = Annotated[int, Meta(ge=0, le=_VERSION_MAX)]


class ChangeDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A document to index or to delete."""

    index: Annotated[str, Meta(extra_json_schema={"enum": list(INDEXES)})]  #: The name of the index.
    id: DocumentId  #: The document's id.
    op: Literal["upsert", "delete"]  #: `upsert` replaces the document, `delete` removes it.
    doc: Annotated[dict[str, Any], Meta(extra_json_schema={"propertyNames": {"not": {"const": DELETED}}})] | None = None
    """The whole document; required for `upsert`."""
    version: Version | None = None
    """The document's version, 0 or higher; a higher version wins. Absent: one more than the highest so far."""

    rules: ClassVar[Json] = {
        "if": {"type": "object", "properties": {"op": {"const": "upsert"}}},
        "then": {"type": "object", "properties": {"doc": {"type": "object"}}, "required": ["doc"]},
    }


async def index(request: web.Request) -> web.Response:
    """
    Index or delete a document.

    The change is committed as an event of the document; the search worker applies it to the index, and the task reports
    when it has.
    """
    change = await bodies.read(request, ChangeDocument)
    check(change)
    async with transaction(request) as connection:
        version = await take_version(connection, change.index, change.id, change.version)
        command = Command("search.index", record_of(change, version), SOURCE, key=change.id, version=version)
        task_id = await submit_in(request, connection, command)
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
    """The event's data, as a record of the index's kind."""
    kinds = INDEXES[change.index]
    if change.op == "delete" or change.doc is None:
        return kinds.deleted(id=change.id, version=version)
    return kinds.upserted(id=change.id, version=version, doc=change.doc)
