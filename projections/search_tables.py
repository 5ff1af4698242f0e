"""The versions of searchable documents."""

from sqlalchemy import BigInteger, CheckConstraint, Column, PrimaryKeyConstraint, Table, Text

from outbox.tables import metadata

# The highest version that was assigned here or came with a change. A deleted document keeps its row: versions never start again.
search_documents = Table(
    "search_documents",
    metadata,
    Column("index_name", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    PrimaryKeyConstraint("index_name", "id"),
    CheckConstraint("version >= 0", name="version_not_negative"),
)
