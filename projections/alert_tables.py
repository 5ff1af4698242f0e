"""The alerts that wait for the operators' web hook; `streams/alerts/webhook.py` sends them."""

from typing import Final

from sqlalchemy import Column, DateTime, Integer, LargeBinary, Table, Text, Uuid

from outbox.tables import metadata

alert_webhooks: Final = Table(
    "alert_webhooks",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", DateTime(timezone=True), nullable=False),
    Column("error", Text),
)
