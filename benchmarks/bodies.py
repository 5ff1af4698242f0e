"""Stripe events in bulk: bodies of the simulator, with every id replaced by a new one of the same length."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.simulators.base62 import DIGITS
from tests.simulators.stripe import FIRST_SECOND, Payment, new_token, sign

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LENGTH_DIGITS: Final = 8
_TOKEN: Final = b"T" * 24
_USER: Final = b"user_" + b"U" * 24
STRIPE_IDS: Final = f"""
create or replace function pg_temp.digit(number int8) returns text language sql immutable as $$
  select substr('{DIGITS}', 1 + (number % 62)::int, 1) $$;
create or replace function pg_temp.base62_of_five(number int8) returns text language sql immutable as $$
  select pg_temp.digit(number / 14776336) || pg_temp.digit(number / 238328) || pg_temp.digit(number / 3844)
    || pg_temp.digit(number / 62) || pg_temp.digit(number) $$;
create or replace function pg_temp.stripe_token(at timestamptz, account text, n int8) returns text language sql immutable as $$
  select '3' || pg_temp.base62_of_five(floor(extract(epoch from at))::int8 - {FIRST_SECOND}) || account
    || reverse(lpad(to_hex(n), 8, '0')) $$
"""
"""A function of a session, `new_token` in SQL: `account` has ten letters, and `n` makes the token unique."""


class Body(NamedTuple):
    """A `payment_intent.succeeded` of a separate payment, with a user to notify."""

    token: str
    data: bytes

    @property
    def payment(self) -> str:
        return f"pi_{self.token}"


def user_of(payment: str) -> str:
    """Return the id of the payer. Each payment has its own payer, at a random place of an index: users pay at any time."""
    return f"user_{payment.removeprefix('pi_')[::-1]}"


def make_bodies(number: int) -> Iterator[Body]:
    """Yield `number` distinct events, whose ids begin with the time like Stripe's; their users' ids do not."""
    token = _TOKEN.decode()
    template = Payment(
        id=f"pi_{token}", charge=f"ch_{token}", customer=f"cus_{token}", metadata={"user_id": _USER.decode()}
    ).succeeded(at=int(time.time()), event_id=f"evt_{token}")
    for _ in range(number):
        fresh = new_token(time.time())
        yield Body(fresh, template.replace(_TOKEN, fresh.encode()).replace(_USER, user_of(f"pi_{fresh}").encode()))


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
