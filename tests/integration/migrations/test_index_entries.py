"""The longest text that can reach an indexed column from outside fits into an entry of its index, whatever its characters."""

from __future__ import annotations

import importlib
import pkgutil
from bisect import bisect_left
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from sqlalchemy import Column, Text, UniqueConstraint
from sqlalchemy.dialects import postgresql

import console
import gateway
import operations
import outbox
import projections
from outbox.tables import metadata
from runtime.ids import new_id
from schemas import text
from schemas.text import RECIPIENT_BYTES, accepts, cut
from streams.payments import razorpay_objects, stripe_objects
from streams.payments.facts import text_of
from streams.payments.stripe_objects import named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Dialect, Table

    Takes = Callable[[str], bool]

for package in (outbox, projections, gateway, operations, console):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if package is projections or module.name.endswith("tables"):
            importlib.import_module(module.name)  # declares its tables on the shared metadata

POOLS: Final = ((0x61, 0x7A), (0x100, 0x7FF), (0x4E00, 0x9FFF), (0x20000, 0x2A6DF))
"""Characters of one, two, three and four bytes in UTF-8."""
LENGTH_MAX: Final = 4096
DIALECT: Final[Dialect] = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy has no types for it


def of(*kinds: Any) -> Takes:
    return lambda given: any(accepts(kind, given) for kind in kinds)


def ours(given: str) -> bool:
    """A constant of ours, or the name of a topic, which Kafka limits; neither comes from outside."""
    return given.isascii() and len(given) <= 249


def object_id(given: str) -> bool:
    """A provider's id of an object: one that is folded, or one that is named."""
    return accepts(stripe_objects.Name, given) or accepts(razorpay_objects.Id, given) or named(given) == given


def word(given: str) -> bool:
    """A text in a merchant's metadata, or one of a command."""
    return text_of(given) == given or accepts(text.Line, given)


def recipient(given: str) -> bool:
    """A recipient as in a command, or as the worker stores it if the command is another worker's."""
    return accepts(text.Recipient, given) or cut(given, RECIPIENT_BYTES) == given


OF_KIND: Final[dict[str, Takes]] = {
    "alert_windows.alert": ours, "alert_windows.subject": of(text.ConfigKey, text.PartnerId),
    "config.key": of(text.ConfigKey), "config_history.key": of(text.ConfigKey), "consumed.consumer": ours,
    "contacts.user_id": of(text.Id), "contacts.email": lambda given: accepts(text.Email, f"a@{given[2:]}"),
    "contacts.phone": of(text.Line), "contacts.push": of(text.PushToken), "dead_letters.consumer": ours,
    "dead_letters.reason": ours, "dead_letters.topic": ours, "dedup.source": of(text.Line),
    "dedup.provider_event_id": of(text.Line), "detached_partitions.partition": ours, "disputes.id": object_id,
    "disputes.payment_id": object_id, "disputes.provider": ours, "endpoints.id": of(text.Id),
    "history.aggregate_id": object_id, "history.aggregate_type": ours, "idempotency_keys.key": of(text.IdempotencyKey),
    "idempotency_keys.scope": ours, "invoices.id": object_id, "invoices.provider": ours,
    "lead_breakers.partner": of(text.PartnerId), "lead_keys.key": of(text.Line), "lead_keys.partner": of(text.PartnerId),
    "leads.external_lead_id": of(text.Line), "leads.partner": of(text.PartnerId), "lost_events.consumer": ours,
    "lost_ranges.consumer": ours, "lost_ranges.topic": ours, "notifications.channel": ours,
    "notifications.recipient": recipient, "offset_replays.consumer": ours, "offset_replays.topic": ours,
    "partners.id": of(text.PartnerId), "payments.id": object_id, "payments.provider": ours,
    "payments.reference": word, "payments.user_id": word,
    "reconciliations.payment_id": object_id, "reconciliations.reference": word, "reconciliations.user_id": word,
    "refunds.id": object_id, "refunds.payment_id": object_id, "refunds.provider": ours, "rejected_kept.source": ours,
    "rejected_quota.source": ours, "retention_cutoffs.kind": ours, "schema_contracts.revision": ours,
    "search_documents.id": of(text.DocumentId), "search_documents.index_name": ours, "secret_uses.secret_id": ours,
    "secret_uses.setting": ours, "seen_topics.topic": ours, "stripe_fetches.kind": ours,
    "stripe_fetches.object_id": object_id, "subscriptions.id": object_id, "subscriptions.provider": ours,
    "webhook_replay_items.state": ours,
}  # fmt: skip
"""The kind of text in each indexed column."""


def indexes() -> Iterator[tuple[Table, str, list[Column[Any]]]]:
    for table in metadata.sorted_tables:
        yield table, "primary key", [*table.primary_key.columns]
        for index in table.indexes:
            yield table, str(index.name), [*index.columns]
        for unique in table.constraints:
            if isinstance(unique, UniqueConstraint):
                yield table, str(unique.name), [*unique.columns]


def longest(takes: Takes) -> str:
    """Return the longest accepted text in bytes, of random letters: Postgres compresses repetitions."""
    found = []
    for first, last in POOLS:
        random = Random(first)
        letters = "".join(chr(random.randint(first, last)) for _ in range(LENGTH_MAX))
        begun = [letters[:count] for count in range(1, LENGTH_MAX + 1)]
        count = bisect_left(begun, True, lo=1, key=lambda given: not takes(given))
        found.append(begun[count - 1] if takes(begun[count - 1]) else "")
    return max(found, key=lambda given: len(given.encode()))


def value_for(column: Column[Any]) -> Any:
    if isinstance(column.type, Text):
        return longest(OF_KIND[str(column)])
    kind = column.type.python_type.__name__
    return {"UUID": new_id(), "datetime": datetime.now(UTC), "int": 1, "bytes": Random(1).randbytes(32)}[kind]


def refusal(connection: psycopg.Connection, columns: list[Column[Any]], values: list[Any]) -> str | None:
    """The answer of Postgres to a row of these values under an index over all of them."""
    names = ", ".join(f'"{column.name}"' for column in columns)
    typed = ", ".join(f'"{column.name}" {column.type.compile(DIALECT)}' for column in columns)
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(f"create temporary table entries ({typed}) on commit drop")
            connection.execute(f"create index on entries ({names})")
            connection.execute(f"insert into entries ({names}) values ({', '.join(['%s'] * len(columns))})", values)
    except psycopg.errors.ProgramLimitExceeded as error:
        return str(error)
    return None


def test_every_indexed_text_has_its_kind_here() -> None:
    indexed = {str(column) for _, _, columns in indexes() for column in columns if isinstance(column.type, Text)}
    assert indexed == set(OF_KIND)


def test_no_index_is_over_an_expression() -> None:
    made = [index for table in metadata.sorted_tables for index in table.indexes]
    assert [index.name for index in made if len(index.expressions) > len(index.columns)] == []


def test_the_longest_text_of_every_indexed_column_fits(database_url: str) -> None:
    refused = {}
    with psycopg.connect(database_url) as connection:
        for table, index, columns in indexes():
            if why := refusal(connection, columns, [value_for(column) for column in columns]):
                refused[f"{table.name}, {index}"] = why
    assert refused == {}


@pytest.mark.parametrize("pool", POOLS, ids=["1 byte", "2 bytes", "3 bytes", "4 bytes"])
def test_a_text_too_long_for_an_index_entry_is_refused(database_url: str, pool: tuple[int, int]) -> None:
    """This proves that Postgres does not compress the texts of the test above."""
    column = metadata.tables["payments"].c.user_id
    given = longest(lambda letters: len(letters.encode()) <= 2_720 and ord(letters[0]) in range(pool[0], pool[1] + 1))
    with psycopg.connect(database_url) as connection:
        assert "exceeds btree" in (refusal(connection, [column], [given]) or "")
