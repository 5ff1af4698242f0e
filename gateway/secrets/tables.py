"""The uses of each live secret, so that one that is out of use can be removed."""

from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, PrimaryKeyConstraint, Table, Text

from outbox.tables import metadata

# How often a secret of ours proved a caller, in slots of five minutes; `secret_id` is its public id, never the secret.
secret_uses = Table(
    "secret_uses",
    metadata,
    Column("setting", Text, nullable=False),
    Column("secret_id", Text, nullable=False),
    Column("slot", DateTime(timezone=True), nullable=False),
    Column("uses", BigInteger, nullable=False),
    Column("first_used_at", DateTime(timezone=True), nullable=False),
    Column("last_used_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("setting", "secret_id", "slot"),
    CheckConstraint("uses > 0", name="uses_positive"),
    CheckConstraint("first_used_at <= last_used_at", name="first_before_last"),
)
