"""Everybody around a rotation: who receives what we send, and who calls us, with the secrets of before and after."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import psycopg
import redis
from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from psycopg import sql

from ops.stack.ports import Ports
from runtime.addresses import LOOPBACK
from runtime.secret_watch import ids_of
from tests.sender import post_razorpay, post_stripe
from tests.simulators import partner, razorpay, stripe
from tests.simulators.crm import SECRET as CRM_SECRET
from tests.simulators.stripe_objects import payment_intent_object
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from ops.stack import Stack
    from tests.simulators.stripe_api import StripeApi
    from tests.system import System

# By setting: the secret of before and the one after it.
LISTS: Final = {
    "STRIPE_WEBHOOK_SECRET": ("whsec_before_the_rotation", "whsec_after_the_rotation"),
    "RAZORPAY_WEBHOOK_SECRET": ("razorpay-before-the-rotation", "razorpay-after-the-rotation"),
    "INTERNAL_API_TOKEN": ("service-before-the-rotation", "service-after-the-rotation"),
    "ADMIN_API_TOKEN": ("operator-before-the-rotation", "operator-after-the-rotation"),
    "STRIPE_API_KEY": ("rk_test_before1rotation", "rk_test_after2rotation"),
    "PARTNER_ACME_SECRET": ("acme-before-the-rotation", "acme-after-the-rotation"),
    "PARTNER_OTHER_TOKEN": ("other-before-the-rotation", "other-after-the-rotation"),
    "PARTNER_ACME_CRM_SECRET": (CRM_SECRET, "whsec_YWZ0ZXItdGhlLXJvdGF0aW9uLW9mLXRoZS1jcm0="),
}
PASSWORDS: Final = ("before0rotation", "after0rotation")
ADDRESSES: Final = ("DATABASE_URL", "REDIS_URL", "NOTIFY_EMAIL_URL", "NOTIFY_SMS_URL")
READERS: Final = {
    **{name: {"gateway"} for name in LISTS},
    **{name: {"gateway", "worker"} for name in ("STRIPE_API_KEY", "PARTNER_ACME_CRM_SECRET", "REDIS_URL")},
    **{name: {"worker"} for name in ("NOTIFY_EMAIL_URL", "NOTIFY_SMS_URL")},
    "DATABASE_URL": {"gateway", "relay", "worker"},
}
STEP: Final = 10  # successes of each kind between two steps


class Receivers:
    """Mail and SMS: whoever comes with another password than these is refused, and counted."""

    def __init__(self) -> None:
        self.passwords = {PASSWORDS[0]}
        self.taken = Counter[str]()
        self.refused = 0
        self.smtp = Ports().take("smtp", 0)
        self.sms = ""

    def _judge(self, kind: str, password: str) -> bool:
        known = password in self.passwords
        self.refused += not known
        self.taken[kind] += known
        return known

    def authenticate(self, _server: object, _session: object, _envelope: object, _mechanism: str, login: Any) -> AuthResult:
        assert isinstance(login, LoginPassword)
        return AuthResult(success=self._judge("mail", login.password.decode()))

    async def handle_DATA(self, *_: object) -> str:  # noqa: N802  # aiosmtpd's name for it
        return "250 taken"

    async def receive(self, request: web.Request) -> web.Response:
        login = aiohttp.BasicAuth.decode(request.headers.get("Authorization", ""))
        return web.Response(status=200 if self._judge("sms", login.password) else 401)

    def address(self, name: str, password: str) -> str:
        if name == "NOTIFY_SMS_URL":
            return f"json://shop:{password}@{self.sms.removeprefix('http://')}/sms"
        return f"mailto://shop:{password}@{LOOPBACK}:{self.smtp}/?from=shop@example.com"


@asynccontextmanager
async def receivers() -> AsyncIterator[Receivers]:
    found = Receivers()
    app = web.Application()
    app.router.add_post("/sms", found.receive)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, 0).start()
    found.sms = "http://{}:{}".format(*runner.addresses[0])
    mail = Controller(found, hostname=LOOPBACK, port=found.smtp, authenticator=found.authenticate, auth_require_tls=False)
    mail.start()
    try:
        yield found
    finally:
        mail.stop()
        await runner.cleanup()


@contextmanager
def accounts(stack: Stack) -> Iterator[tuple[psycopg.Connection, redis.Redis]]:
    """The administration of Postgres and of Redis, with an account `rotated` in each that has the password of before."""
    with (
        psycopg.connect(stack.postgres.url, autocommit=True) as postgres,
        redis.Redis.from_url(stack.environment["REDIS_URL"]) as cache,
    ):
        postgres.execute("drop role if exists rotated")
        postgres.execute(sql.SQL("create role rotated superuser login password {}").format(PASSWORDS[0]))
        cache.acl_setuser("rotated", enabled=True, reset=True, passwords=[f"+{PASSWORDS[0]}"], keys="*", commands=["+@all"])
        try:
            yield postgres, cache
        finally:
            cache.acl_deluser("rotated")


class Load:
    """Everybody who calls, again and again, with the secrets of this moment; `refusals` is what should stay empty."""

    def __init__(self, http: aiohttp.ClientSession, system: System, api: StripeApi) -> None:
        self._http = http
        self._system = system
        self._api = api
        self.place = 0
        self.done = Counter[str]()
        self.refusals = list[str]()
        self._ended = asyncio.Event()

    def secret(self, setting: str, place: int | None = None) -> str:
        return LISTS[setting][self.place if place is None else place]

    @property
    def calls(self) -> dict[str, Callable[[int], Awaitable[int]]]:
        return {
            "stripe": self.stripe, "razorpay": self.razorpay, "signed lead": self.signed_lead, "lead with a token": self.lead,
            "service": self.service, "operator": self.operator, "mail": self.mail, "sms": self.sms, "cache": self.cache,
        }  # fmt: skip

    async def run(self) -> None:
        await asyncio.gather(*(self._again(name, call) for name, call in self.calls.items()))

    def end(self) -> None:
        self._ended.set()

    async def step(self) -> None:
        """Return once each kind of call has succeeded some more times."""
        before = self.done.copy()
        await eventually(lambda: self._have_passed(before))

    async def _have_passed(self, before: Counter[str]) -> bool | None:
        return all(self.done[name] >= before[name] + STEP for name in self.calls) or None

    async def _again(self, name: str, call: Callable[[int], Awaitable[int]]) -> None:
        while not self._ended.is_set():
            status = await call(self.place)
            self.done[name] += status < 300
            if status >= 300:
                self.refusals.append(f"{name}: {status}")
            await asyncio.wait({asyncio.ensure_future(self._ended.wait())}, timeout=0.05)

    async def stripe(self, place: int) -> int:
        """A thin event, whose object the payments worker asks Stripe's API for."""
        payment, now = stripe.Payment(amount=4200), time.time()
        self._api.keep({**payment_intent_object(payment, int(now)), "status": "succeeded", "amount_received": 4200})
        event = {
            "id": stripe.random_id("evt"),
            "object": "v2.core.event",
            "type": "v1.payment_intent.succeeded",
            "livemode": False,
            "created": datetime.fromtimestamp(now, UTC).isoformat(),
            "related_object": {"id": payment.id, "type": "payment_intent", "url": f"/v1/payment_intents/{payment.id}"},
        }
        secret = self.secret("STRIPE_WEBHOOK_SECRET", place)
        return (await post_stripe(self._http, self._system.public, json.dumps(event).encode(), secret=secret)).status

    async def razorpay(self, place: int) -> int:
        secret = self.secret("RAZORPAY_WEBHOOK_SECRET", place)
        return (await post_razorpay(self._http, self._system.public, razorpay.Payment().captured(), secret=secret)).status

    async def signed_lead(self, place: int) -> int:
        body = partner.lead(stripe.random_id("crm"), "acme")
        return await self._lead(body, {"X-Partner-Signature": partner.sign_body(body, self.secret("PARTNER_ACME_SECRET", place))})

    async def lead(self, place: int) -> int:
        token = self.secret("PARTNER_OTHER_TOKEN", place)
        return await self._lead(partner.lead(stripe.random_id("crm"), "other"), {"Authorization": f"Bearer {token}"})

    async def _lead(self, body: bytes, proof: dict[str, str]) -> int:
        headers = {"Content-Type": "application/json", **proof}
        async with self._http.post(f"{self._system.public}/v1/webhooks/partner/leads", data=body, headers=headers) as answer:
            return answer.status

    async def service(self, place: int) -> int:
        return (await self.get("/internal/v1/config", self.secret("INTERNAL_API_TOKEN", place)))[0]

    async def operator(self, place: int) -> int:
        return (await self.get("/v1/admin/replays", self.secret("ADMIN_API_TOKEN", place)))[0]

    async def get(self, path: str, token: str) -> tuple[int, str]:
        async with self._http.get(self._system.internal + path, headers={"X-Internal-Token": token}) as answer:
            return answer.status, await answer.text()

    async def mail(self, place: int) -> int:
        return await self._notify(place, channel="EMAIL", to="ada@example.com")

    async def sms(self, place: int) -> int:
        return await self._notify(place, channel="SMS", to="+4915112345678")

    async def _notify(self, place: int, **to: str) -> int:
        data = {"providerPaymentId": "pi_1", "amount": 100, "currency": "eur"}
        return await self._command(place, "notifications/send", template="payment-succeeded", data=data, **to)

    async def cache(self, place: int) -> int:
        return await self._command(place, "cache/invalidate", keys=["shop:1"])

    async def _command(self, place: int, path: str, **body: Any) -> int:
        headers = {"X-Internal-Token": self.secret("INTERNAL_API_TOKEN", place)}
        async with self._http.post(f"{self._system.internal}/internal/v1/{path}", json=body, headers=headers) as answer:
            return answer.status

    async def until_taken(self, texts: dict[str, str], since: datetime) -> None:
        """Return once every process that reads them has taken these texts; print how long the last one took."""

        async def all_taken() -> dict[str, float] | None:
            status, text = await self.get("/v1/admin/secrets", self.secret("ADMIN_API_TOKEN"))
            assert status == 200, text
            changes = json.loads(text)["changes"]
            taken = {
                (each["setting"], each["process"].partition(" ")[0].partition("-")[0]): datetime.fromisoformat(each["at"])
                for each in changes
                if each["outcome"] == "taken" and tuple(each["ids"]) == ids_of(texts.get(each["setting"], ""))
            }
            wanted = {(name, process) for name in texts for process in READERS[name]}
            return {f"{each}": (taken[each] - since).total_seconds() for each in wanted} if wanted <= taken.keys() else None

        lags = await eventually(all_taken)
        print(f"in force everywhere after {max(lags.values()):.2f} s")  # noqa: T201  # for who reads the run
