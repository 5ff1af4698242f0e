"""The events of the search index, and the indexes that there are."""

from typing import Annotated, Any, Final, NamedTuple

import msgspec

DELETED: Final = "deleted"
"""The field that marks a deleted document in the index; no document brings one of its own."""

Version = Annotated[int, msgspec.Meta(ge=0)]


class DocumentChanged(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A document is another as of this version. Unknown fields are ignored, so that a reader outlives the addition of one."""

    id: str
    version: Version


class PropertyUpserted(DocumentChanged, frozen=True, kw_only=True):
    """A property looks like this as of this version; `doc` is the whole of it."""

    doc: dict[str, Any]


class PropertyDeleted(DocumentChanged, frozen=True, kw_only=True):
    """A property is gone as of this version."""


class Index(NamedTuple):
    """One index: its name for callers and for searches, and the events that change its documents."""

    name: str
    upserted: type[PropertyUpserted]
    deleted: type[PropertyDeleted]


PROPERTIES: Final = Index("properties", PropertyUpserted, PropertyDeleted)
INDEXES: Final = {index.name: index for index in (PROPERTIES,)}
