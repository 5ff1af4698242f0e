"""Partners: the health of their CRMs, their waiting leads, and the actions pause, resume and probe."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal, NamedTuple, get_args

import msgspec
from aiohttp import web
from msgspec import Meta
from psycopg import AsyncConnection

from console.listing import Found, list_page
from console.pages import SESSION, Screen, page
from gateway.answers import require
from gateway.errors import refusing
from gateway.keys import CALL
from gateway.postgres import reading, transaction
from operations.errors import OperationError
from operations.partners import pausing
from operations.partners.health import Health, read_health
from operations.partners.routes import detail_of, registry_of
from operations.stats import store as stats
from operations.stats.query import StatsQuery
from projections.partners import PartnerView, Pause, pause_key, read_partner, read_partners, read_pauses, request_probe
from schemas.leads import LeadStatus
from schemas.partners import key_of
from schemas.text import Filter, PartnerId, accepts

_SHOWN: Final = 100
_SPAN: Final = timedelta(hours=1)
_LATE: Final = timedelta(minutes=1)
_ABSENT: Final = "no partner has this id"
_RUNNING: Final = Pause(paused=False, by="configuration")

State = Literal["paused", "failing", "waiting"]


class PartnersQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The filters of the partners, which are listed in the order of their ids."""

    name: Annotated[Filter, Meta(description="Only partners whose ids contain this.")] | None = None
    state: State | None = None
    cursor: Filter | None = None  #: The id of the last partner on the previous page.


class PartnerNow(NamedTuple):
    """The current state of a partner; `health` is None if it had no attempts within the last hour."""

    id: str
    pause: Pause
    view: PartnerView
    health: Health | None = None

    @property
    def state(self) -> State | None:
        """The most serious state that applies; None if the CRM is called and no lead waits."""
        if self.pause.paused:
            return "paused"
        if self.view.opened_at:
            return "failing"
        return "waiting" if self.view.waiting else None

    @property
    def probe_requested_at(self) -> datetime | None:
        """The time at which a probe was requested that was not made yet."""
        asked, tried = self.view.asked_at, self.view.tried_at
        return asked if asked and (tried is None or tried < asked) else None

    def is_overdue(self, now: datetime) -> bool:
        """Return true if leads have been due for a while, but are not tried."""
        due = self.view.oldest_due_at
        return self.state == "waiting" and due is not None and now - due > _LATE


async def partners(request: web.Request) -> web.Response:
    """Show one page of the partners."""

    async def read(connection: AsyncConnection, query: PartnersQuery) -> Found:
        fitting = [each for each in await _all(request, connection) if _fits(each, query)]
        shown = fitting[:_SHOWN]
        health = await read_health(connection, datetime.now(UTC) - _SPAN, [each.id for each in shown])
        items = [each._replace(health=health.get(each.id)) for each in shown]
        return Found(items, shown[-1].id if len(fitting) > _SHOWN else None)

    return await list_page(request, "partners.html", PartnersQuery, read)


async def partner(request: web.Request) -> web.Response:
    """Show one partner."""
    return await _partner(request, "partner.html")


async def state(request: web.Request) -> web.Response:
    """Show the current state of a partner, and the possible actions."""
    return await _partner(request, "_partner.html")


async def attempts(request: web.Request) -> web.Response:
    """Show the attempts of the last hours, and their durations."""
    key = _key_of(request)
    period = StatsQuery(bucket="5m").period(datetime.now(UTC))
    async with reading(request) as connection:
        series = await stats.count(connection, "attempts", period, key)
    points = {point.at: point for each in series for point in each.points}
    times = [period.begin + n * period.width for n in range((period.end - period.begin) // period.width)]
    found = [points.get(at) for at in times]
    unix = [int(at.timestamp()) for at in times]
    delivered = [point.outcomes.get("delivered", 0) if point else 0 for point in found]
    failed = [point.failures if point else 0 for point in found]
    took = [[point.p50_ms if point else None for point in found], [point.p99_ms if point else None for point in found]]
    return page(
        request,
        "_partner_attempts.html",
        numbers={"names": ["delivered", "failed"], "kinds": ["none", "much"], "columns": [unix, delivered, failed]},
        times={"names": ["median, ms", "99th percentile, ms"], "columns": [unix, *took]},
        delivered=sum(delivered),
        failed=sum(failed),
    )


async def pause(request: web.Request) -> web.Response:
    """Hold the partner's leads back."""
    return await _set(request, paused=True)


async def resume(request: web.Request) -> web.Response:
    """Deliver the partner's leads again."""
    return await _set(request, paused=False)


async def probe(request: web.Request) -> web.Response:
    """Request a probe of the partner's CRM now."""
    async with transaction(request) as connection:
        current = await _read(request, connection, _key_of(request))
        if not current.pause.paused:
            await request_probe(connection, current.id)
    return await _partner(request, "_partner.html")


async def _set(request: web.Request, *, paused: bool) -> web.Response:
    call = request[CALL]
    change = pausing.Change(call.id, request[SESSION].holder.secret_id, call.trace)
    with refusing(OperationError):
        async with transaction(request) as connection:
            await pausing.pause(connection, registry_of(request), _key_of(request), change, paused=paused)
    return await _partner(request, "_partner.html")


async def _partner(request: web.Request, template: str) -> web.Response:
    key, now = _key_of(request), datetime.now(UTC)
    async with reading(request) as connection:
        current = await _read(request, connection, key)
        health = await read_health(connection, now - _SPAN, [key])
        detail = await detail_of(connection, registry_of(request), key)
    return page(
        request,
        template,
        partner=current._replace(health=health.get(key)),
        detail=detail,
        pause_key=pause_key(key),
        late=current.is_overdue(now),
        states=get_args(LeadStatus),
    )


async def _read(request: web.Request, connection: AsyncConnection, key: str) -> PartnerNow:
    """Read the partner of this key. Raises GatewayError `not_found`."""
    pause = (await read_pauses(connection, registry_of(request).environment)).get(key)
    view = await read_partner(connection, key)
    return require(PartnerNow(key, pause or _RUNNING, view or PartnerView(partner=key)) if pause or view else None, _ABSENT)


async def _all(request: web.Request, connection: AsyncConnection) -> list[PartnerNow]:
    """Return every partner that exists, has waiting leads, or has a CRM that has failed, in the order of their ids."""
    pauses = await read_pauses(connection, registry_of(request).environment)
    waiting = {view.partner: view for view in await read_partners(connection)}
    return [
        PartnerNow(key, pauses.get(key, _RUNNING), waiting.get(key, PartnerView(partner=key)))
        for key in sorted({*pauses, *waiting})
    ]


def _key_of(request: web.Request) -> str:
    """Return the key of the partner in the path. Raises GatewayError `not_found`."""
    asked = request.match_info["id"]
    return key_of(require(asked if accepts(PartnerId, asked) else None, _ABSENT))


def _fits(current: PartnerNow, query: PartnersQuery) -> bool:
    return (
        (query.cursor is None or current.id > query.cursor)
        and (query.name is None or key_of(query.name) in current.id)
        and (query.state is None or query.state == current.state)
    )


SCREEN: Final = Screen(
    "Partners",
    "/console/partners",
    (
        web.get("/partners", partners, name="console_partners"),
        web.get("/partners/{id}", partner, name="console_partner"),
        web.get("/partners/{id}/state", state, name="console_partner_state"),
        web.get("/partners/{id}/attempts", attempts, name="console_partner_attempts"),
        web.post("/partners/{id}/pause", pause, name="console_partner_pause"),
        web.post("/partners/{id}/resume", resume, name="console_partner_resume"),
        web.post("/partners/{id}/probe", probe, name="console_partner_probe"),
    ),
)
