"""Examines whether test and live payments are kept apart: the modes of recent Stripe deliveries beside STRIPE_MODE."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from ops.doctor.findings import ok, warn
from runtime.ids import first_id_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import AsyncConnection

    from ops.doctor.findings import Finding

_WITHIN: Final = timedelta(days=1)
# The latest are enough, and a busy day holds millions.
_SEEN: Final = """
select count(*) filter (where livemode), count(*) filter (where not livemode)
from (select livemode from webhook_deliveries where source = 'stripe' and id >= %s and outcome in ('accepted', 'ignored')
      order by id desc limit 100000) d
"""


async def check_modes(connection: AsyncConnection, wanted: str) -> list[Finding]:
    row = await (await connection.execute(_SEEN, (first_id_of(datetime.now(UTC) - _WITHIN),))).fetchone()
    live, test = row or (0, 0)
    return list(judge_modes(wanted, live, test))


def judge_modes(wanted: str, live: int, test: int) -> Iterator[Finding]:
    """`wanted` is STRIPE_MODE; so many events of each mode came within the day."""
    if wanted == "any" and live and test:
        act = "set STRIPE_MODE=live, or test, on every gateway: events of the other mode are then stored, and ignored"
        text = f"live and test events of Stripe came within the day ({live} and {test}), and STRIPE_MODE=any handles both"
        yield warn("webhooks", text, act, "test-and-live")
    elif wanted == "test" and live:
        act = "if this system is for real payments, set STRIPE_MODE=live, restart the gateways and replay what was ignored"
        text = f"STRIPE_MODE=test ignores {live} live events of Stripe that came within the day"
        yield warn("webhooks", text, act, "test-and-live")
    elif wanted == "live" and test and not live:
        act = "give the live endpoint's signing secret to STRIPE_WEBHOOK_SECRET, or set STRIPE_MODE=test"
        text = f"STRIPE_MODE=live, and all {test} events of Stripe that came within the day are test ones"
        yield warn("webhooks", text, act, "test-and-live")
    elif wanted == "live" and test:
        yield ok("webhooks", f"STRIPE_MODE=live ignores {test} test events of Stripe that came within the day")
