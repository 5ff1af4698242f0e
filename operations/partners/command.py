"""`tallyhook partners`."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from operations.output import CommandError, Json, finite, show, with_database
from operations.reseal import reseal
from runtime.settings import environment
from schemas.partners import PartnerSettings, key_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from psycopg import AsyncConnection

    from projections.partners import PartnerView

app = typer.Typer(no_args_is_help=True, help="Partners and their CRMs: terms, secrets, waiting leads and probes.")
app.command("reseal")(reseal)
_LOOK_EVERY: Final = 0.5  # seconds


@app.command("list")
def list_partners(as_json: Json = False) -> None:
    """List the partners: how many of their leads wait, since when, and whether their breakers are open."""
    import msgspec

    from projections.partners import PartnerView, read_partners

    known = {view.partner: view for view in with_database(read_partners)}
    configured, stored = PartnerSettings.load(environment()).partners, with_database(_stored)
    views = [known.get(key, PartnerView(partner=key)) for key in sorted({*known, *configured, *stored})]
    ignored = sorted({*configured} & stored)
    text = "\n".join((*map(_line, views), *map(_warning, ignored))) or "there is no partner: `tallyhook partners put` adds one"
    show({"partners": msgspec.to_builtins(views), "ignored": ignored}, text, as_json=as_json)


@app.command("probe")
def probe(
    partner: Annotated[
        str, typer.Argument(metavar="PARTNER", help="The partner, as in the names of its settings or as in its leads.")
    ],
    wait: Annotated[float, typer.Option(min=1, max=600, callback=finite, help="Seconds to wait for the answer of its CRM.")] = 30,
    as_json: Json = False,
) -> None:
    """
    Try a partner's CRM now with one lead, and close its breaker if the CRM works again; otherwise exit with 1.

    It is the next lead that waits; if it was not due yet, a failure does not count as one of its attempts. If no lead waits,
    the breaker is closed.
    """
    import msgspec

    key = key_of(partner)
    configured = PartnerSettings.load(environment()).partners
    if key not in (there := sorted({*configured, *with_database(_stored)})):
        raise CommandError(f"partner_unknown: there is no partner {key}; there are: {', '.join(there) or 'none'}")
    view = with_database(lambda connection: _probe(connection, key, configured, wait))
    if view.error is not None:
        until = f"; the next try is at {view.probe_at:%Y-%m-%d %H:%M:%S} UTC" if view.probe_at else ""
        raise CommandError(f"crm_failing: the CRM of {key} still fails ({view.error}){until}; {view.waiting} leads wait")
    show(
        msgspec.to_builtins(view),
        f"the breaker of {key} is closed; {view.waiting} leads wait and are delivered now",
        as_json=as_json,
    )


async def _probe(connection: AsyncConnection, key: str, configured: Iterable[str], wait: float) -> PartnerView:
    from operations.partners.shell import note
    from projections import partners

    held = await partners.why_waiting(connection, key, configured)
    if held and held.reason == "partner_paused":
        raise CommandError(f"partner_paused: {held.detail}; `tallyhook partners resume {key}` delivers its leads")
    async with connection.transaction():
        asked_at = await partners.request_probe(connection, key)
        await note(connection, f"probe {key}")
    until = time.monotonic() + wait
    while time.monotonic() < until:
        found = {view.partner: view for view in await partners.read_partners(connection)}
        if (tried := found[key].tried_at) and tried >= asked_at:
            return found[key]
        await asyncio.sleep(_LOOK_EVERY)
    raise CommandError(
        f"crm_untried: no leads worker has tried the CRM of {key} within {wait:g} s: `tallyhook doctor` shows whether one runs"
    )


async def _stored(connection: AsyncConnection) -> set[str]:
    from projections.partner_store import PARTNERS

    return {*await PARTNERS.versions(connection)}


def _warning(key: str) -> str:
    return f"{key} is in the settings and in the database; the one in the database is ignored: remove one of them"


def _line(view: PartnerView) -> str:
    line = f"{view.partner}: {view.waiting} leads wait"
    if view.oldest_received_at:
        line += f", the oldest since {view.oldest_received_at:%Y-%m-%d %H:%M:%S} UTC"
    if view.opened_at and view.probe_at:
        line += (
            f"; its CRM has not been called since {view.opened_at:%Y-%m-%d %H:%M:%S} UTC after {view.failures} failures in a row"
            f" ({view.error}); the next try is at {view.probe_at:%H:%M:%S}"
        )
    return line
