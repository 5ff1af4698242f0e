"""Examines whether test and live events are kept apart: the modes of a provider's recent deliveries beside the setting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from ops.doctor.findings import ok, warn
from runtime.ids import first_id_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import AsyncConnection

    from ops.doctor.findings import Finding
    from schemas.providers import Provider

_WITHIN: Final = timedelta(days=1)
# The latest are enough, and a busy day holds millions.
_SEEN: Final = """
select count(*) filter (where livemode), count(*) filter (where not livemode)
from (select livemode from webhook_deliveries where source = %s and id >= %s and outcome in ('accepted', 'ignored')
      order by id desc limit 100000) d
"""


async def check_modes(connection: AsyncConnection, provider: Provider, wanted: str) -> list[Finding]:
    row = await (await connection.execute(_SEEN, (provider.name, first_id_of(datetime.now(UTC) - _WITHIN)))).fetchone()
    live, test = row or (0, 0)
    return list(judge_modes(provider, wanted, live, test))


def judge_modes(provider: Provider, wanted: str, live: int, test: int) -> Iterator[Finding]:
    """Judge the mode that is set, `wanted`, by the number of live and test events that came within the day."""
    setting, events = provider.mode_setting, f"events of {provider.title} that came within the day"
    if wanted == "any" and live and test:
        act = f"set {setting}=live, or test, on every gateway: events of the other mode are then stored, and ignored"
        text = f"live and test events of {provider.title} came within the day ({live} and {test}), and {setting}=any handles both"
        yield warn("webhooks", text, act, "test-and-live")
    elif wanted == "test" and live:
        act = f"if this system is for real payments, set {setting}=live, restart the gateways and replay what was ignored"
        text = f"{setting}=test ignores {live} live {events}"
        yield warn("webhooks", text, act, "test-and-live")
    elif wanted == "live" and test and not live:
        act = f"give the live endpoint's signing secret to {provider.secret_setting}, or set {setting}=test"
        text = f"{setting}=live, and all {test} {events} are test ones"
        yield warn("webhooks", text, act, "test-and-live")
    elif wanted == "live" and test:
        yield ok("webhooks", f"{setting}=live ignores {test} test {events}")
