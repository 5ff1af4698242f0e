"""Events of search documents, and the indexes that hold them."""

from typing import Annotated, Any, Final, NamedTuple

import msgspec

DELETED: Final = "deleted"
"""The field that marks a deleted document in the index; documents may not have a field of this name."""

Version = Annotated[int, msgspec.Meta(ge=0)]


class DocumentChanged(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A new version of a document; readers ignore unknown fields, so that a field can be added."""

    id: str  #: The document's id.
    version: Version  #: The document's version; a higher version wins.


class PropertyUpserted(DocumentChanged, frozen=True, kw_only=True):
    """
    A property document has a new content.

    The event holds the whole document; a reader that knows a higher version ignores it.
    """

    doc: dict[str, Any]  #: The whole document.


class PropertyDeleted(DocumentChanged, frozen=True, kw_only=True):
    """
    A property document was deleted.

    A reader that knows a higher version ignores the event.
    """


class Index(NamedTuple):
    """An index: its name for callers and for searches, and the events of its documents."""

    name: str
    upserted: type[PropertyUpserted]
    deleted: type[PropertyDeleted]


PROPERTIES: Final = Index("properties", PropertyUpserted, PropertyDeleted)
INDEXES: Final = {index.name: index for index in (PROPERTIES,)}
