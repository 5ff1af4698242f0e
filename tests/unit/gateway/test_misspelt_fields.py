"""A misspelt field of a command is refused by its name, since without it the command would do something else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from gateway import bodies
from gateway.commands.cache import Invalidate
from gateway.commands.payments import ExpectPayment
from gateway.commands.search import ChangeDocument
from gateway.errors import GatewayError, Reason
from projections.contacts import Contact, Reach

if TYPE_CHECKING:
    from msgspec import Struct


@pytest.mark.parametrize(
    ("record", "body", "misspelt"),
    [
        (ExpectPayment, {"reference": "order-1", "amount": 1999, "currency": "usd"}, "userID"),
        (ChangeDocument, {"index": "properties", "id": "p1", "op": "delete"}, "Version"),
        (Invalidate, {"keys": ["user:7"]}, "pattern"),
        (Reach, {"email": "ada@example.com"}, "optouts"),
    ],
)
def test_a_misspelt_field_is_refused_by_its_name(record: type[Struct], body: dict[str, Any], misspelt: str) -> None:
    bodies.parse(msgspec.json.encode(body), record)
    with pytest.raises(GatewayError, match=f"`{misspelt}`") as refusal:
        bodies.parse(msgspec.json.encode(body | {misspelt: None}), record)
    assert refusal.value.reason is Reason.FIELD_INVALID


def test_a_contact_that_was_read_can_be_sent_back() -> None:
    read = Contact(user_id="user-1", opt_outs=["SMS"], updated_at=datetime.now(UTC), email="ada@example.com")
    sent = bodies.parse(msgspec.json.encode(read), Reach)
    assert (sent.email, sent.opt_outs, sent.phone) == ("ada@example.com", ["SMS"], None)
