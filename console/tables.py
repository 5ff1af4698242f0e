"""The keys of the console: sessions of browsers, and the links that open one."""

from sqlalchemy import CheckConstraint, Column, DateTime, Index, LargeBinary, PrimaryKeyConstraint, Table, Text

from outbox.tables import metadata

# `digest` is the SHA-256 of a key that only its holder has. `secret_id` is the public id of the token to which it belongs.
console_keys = Table(
    "console_keys",
    metadata,
    Column("digest", LargeBinary, nullable=False),
    Column("kind", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("secret_id", Text, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("digest"),
    CheckConstraint("kind in ('session', 'link')", name="kind_known"),
    CheckConstraint("role in ('admin', 'reader')", name="role_known"),
    Index(None, "expires_at"),
)
