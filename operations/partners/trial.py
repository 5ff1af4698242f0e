"""`tallyhook partners test`: sends a signed test lead to a partner's CRM, and prints the request and the answer."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from operations.output import CommandError, Json, show, with_database
from operations.partners.command import app
from operations.partners.shell import Name, key_named, registry_of_settings
from runtime.addresses import shown
from runtime.ids import new_id
from runtime.settings import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemas.partners import Partner
    from streams.leads.crm import Request
    from streams.leads.decisions import Answer

KIND: Final = "lead.partner.test"
"""The type of the message, by which a CRM distinguishes it from a lead."""


@app.command("test")
def try_partner(partner: Name, as_json: Json = False) -> None:
    """Send a signed test lead to the partner's CRM, and print request and answer; exit with 1 if the CRM does not take it."""
    from streams.leads.crm import body_of, request_of
    from streams.leads.delivery_store import Claimed

    key, now = key_named(partner), datetime.now(UTC)
    known = _partner(key)
    if known.crm_url is None:
        raise CommandError(f"crm_not_configured: {key} has no CRM address")
    lead = Claimed(new_id(), key, partner, f"test-{now:%Y%m%d%H%M%S}", b'{"test":true}', "", now, 1, 0)
    request = request_of(known, known.crm_url, lead, body_of(lead, now, KIND), now)
    began = time.monotonic()
    answer = asyncio.run(_send(known, request))
    seconds = round(time.monotonic() - began, 3)
    headers = {name: "(not shown)" if name in known.crm_headers else value for name, value in request.headers.items()}
    sent = {"url": shown(request.url), "headers": headers, "body": request.body.decode()}
    answered = {"status": answer.status, "error": answer.error, "excerpt": answer.excerpt, "seconds": seconds}
    show({"request": sent, "answer": answered}, "\n".join(_lines(sent, answer, seconds)), as_json=as_json)
    if not answer.delivered:
        raise CommandError(f"crm_failing: the CRM of {key} has not taken the test lead: {answer.error}")


def _partner(key: str) -> Partner:
    """Read the partner from the settings or the database. Raises CommandError."""
    from projections.partner_store import PARTNERS, partner_of

    registry = registry_of_settings()
    if (configured := registry.environment.get(key)) is not None:
        return configured
    row = with_database(lambda connection: PARTNERS.read(connection, key))
    if row is None:
        raise CommandError(f"not_found: there is no partner {key}")
    return partner_of(row.terms, PARTNERS.open(row, registry.seals))


async def _send(partner: Partner, request: Request) -> Answer:
    from streams.leads.crm import opened_crm
    from streams.settings import DeliverySettings

    settings = DeliverySettings.load(environment())
    async with opened_crm(settings.lead_timeout, settings.outbound_allow, lambda: datetime.now(UTC)) as crm:
        return await crm.post(request, partner.timeout)


def _lines(request: dict[str, Any], answer: Answer, seconds: float) -> Iterator[str]:
    yield f"POST {request['url']} (path and query are not shown)"
    yield from (f"{name}: {value}" for name, value in request["headers"].items())
    yield f"\n{request['body']}\n"
    yield f"{answer.status or answer.error} after {seconds:.3f} s"
    if answer.excerpt:
        yield answer.excerpt
