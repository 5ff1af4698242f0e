"""Stripe events in bulk: bodies of the simulator, with every id replaced by a new one of the same length."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.simulators.stripe import Payment, sign

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LENGTH_DIGITS: Final = 8
_TOKEN: Final = b"T" * 24


class Body(NamedTuple):
    """A `payment_intent.succeeded` of a separate payment, with a user to notify."""

    token: str
    data: bytes

    @property
    def payment(self) -> str:
        return f"pi_{self.token}"


def make_bodies(number: int) -> Iterator[Body]:
    """Yield `number` distinct events; their ids are random like real ones, so that all parts of an index are used."""
    token = _TOKEN.decode()
    template = Payment(
        id=f"pi_{token}", charge=f"ch_{token}", customer=f"cus_{token}", metadata={"user_id": f"user_{token}"}
    ).succeeded(at=int(time.time()), event_id=f"evt_{token}")
    for _ in range(number):
        fresh = os.urandom(len(_TOKEN) // 2).hex()
        yield Body(fresh, template.replace(_TOKEN, fresh.encode()))


def request_of(body: Body, secret: str, host: str) -> bytes:
    """Return the whole signed HTTP request, byte for byte."""
    head = (
        f"POST /v1/webhooks/stripe HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json; charset=utf-8\r\n"
        f"User-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\nContent-Length: {len(body.data)}\r\n"
        f"Stripe-Signature: {sign(body.data, secret, time.time())}\r\n\r\n"
    )
    return head.encode() + body.data


def write_requests(path: Path, number: int, secret: str, host: str) -> list[str]:
    """Write `number` signed requests to a file, each after its length in decimal digits; returns the payments, in order."""
    payments = []
    with path.open("wb") as file:
        for body in make_bodies(number):
            request = request_of(body, secret, host)
            file.write(f"{len(request):0{LENGTH_DIGITS}d}".encode())
            file.write(request)
            payments.append(body.payment)
    return payments


def read_requests(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while length := file.read(LENGTH_DIGITS):
            yield file.read(int(length))
