"""All clients of the system while secrets are rotated, with the old and the new secrets."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, defaultdict
from datetime import UTC, datetime
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg

from outbox.append import append, event_of
from runtime.seals import new_key
from runtime.secret_watch import ids_of
from runtime.tracing import new_trace
from schemas.operations import AlertRaised
from tests.sender import post_razorpay, post_stripe
from tests.simulators import partner, razorpay, stripe
from tests.simulators.crm import SECRET as CRM_SECRET
from tests.simulators.stripe_objects import payment_intent_object
from tests.system import Doors
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import aiohttp

    from tests.mounts import Mount
    from tests.simulators.stripe_api import StripeApi
    from tests.system import System

# By setting: the old and the new secret.
LISTS: Final = {
    "STRIPE_WEBHOOK_SECRET": ("whsec_before_the_rotation", "whsec_after_the_rotation"),
    "RAZORPAY_WEBHOOK_SECRET": ("razorpay-before-the-rotation", "razorpay-after-the-rotation"),
    "INTERNAL_API_TOKEN": ("service-before-the-rotation", "service-after-the-rotation"),
    "ADMIN_API_TOKEN": ("operator-before-the-rotation", "operator-after-the-rotation"),
    "READ_API_TOKEN": ("reader-before-the-rotation", "reader-after-the-rotation"),
    "STRIPE_API_KEY": ("rk_test_before1rotation", "rk_test_after2rotation"),
    "PARTNER_ACME_SECRET": ("acme-before-the-rotation", "acme-after-the-rotation"),
    "PARTNER_OTHER_TOKEN": ("other-before-the-rotation", "other-after-the-rotation"),
    "PARTNER_ACME_CRM_SECRET": (CRM_SECRET, "whsec_YWZ0ZXItdGhlLXJvdGF0aW9uLW9mLXRoZS1jcm0="),
    "ALERT_WEBHOOK_SECRET": (CRM_SECRET, "whsec_YWZ0ZXItdGhlLXJvdGF0aW9uLW9mLXRoZS1ob29r"),
    "SECRET_KEYS": (new_key(), new_key()),
}
ADDRESSES: Final = (
    "DATABASE_URL", "REDIS_URL", "NOTIFY_EMAIL_URL", "NOTIFY_SMS_URL", "ALERT_WEBHOOK_URL", "ELASTICSEARCH_URL",
)  # fmt: skip
READERS: Final = {
    **{name: {"gateway", "worker"} if name.startswith("PARTNER_") else {"gateway"} for name in LISTS},
    **{name: {"gateway", "worker"} for name in ("STRIPE_API_KEY", "REDIS_URL", "SECRET_KEYS")},
    **{name: {"worker"} for name in ("NOTIFY_EMAIL_URL", "NOTIFY_SMS_URL", "ALERT_WEBHOOK_URL", "ALERT_WEBHOOK_SECRET")},
    **{name: {"worker"} for name in ("ELASTICSEARCH_URL", "ELASTICSEARCH_API_KEY")},
    "DATABASE_URL": {"gateway", "relay", "worker"},
}
_NUMBER: Final = {"gateway": 2}
"""The number of processes of each kind with more than one."""
STEP: Final = 10  # successes of each kind between two steps


class TakenChange(NamedTuple):
    """A change that a process of this kind has taken."""

    setting: str
    ids: tuple[str, ...]
    process: str


def process_of(client: str) -> str:
    """The kind of the process that an entry of the audit log names as its client."""
    return client.partition(" ")[0].partition("-")[0]


class Load:
    """All clients, which call again and again with the current secrets; `refusals` should stay empty."""

    def __init__(self, http: aiohttp.ClientSession, system: System, api: StripeApi) -> None:
        self._http = http
        self._system = system
        self._api = api
        self.place = 0
        self.done = Counter[str]()
        self.refusals = list[str]()
        self.alerts = set[str]()
        self.changes = list[TakenChange]()
        self._doors = cycle((Doors(system.public, system.internal), system.second))
        self._stored = {"partner": "", "endpoint": f"whsec_{stripe.random_id('eu')}"}
        self._ended = asyncio.Event()

    def door(self) -> Doors:
        """Return the gateways in turn, the next one for each request."""
        return next(self._doors)

    def secret(self, setting: str, place: int | None = None) -> str:
        return LISTS[setting][self.place if place is None else place]

    @property
    def calls(self) -> dict[str, Callable[[int], Awaitable[int]]]:
        return {
            "stripe": self.stripe, "razorpay": self.razorpay, "signed lead": self.signed_lead, "lead with a token": self.lead,
            "service": self.service, "operator": self.operator, "reader": self.reader,
            "mail": self.mail, "sms": self.sms, "cache": self.cache,
            "search": self.search, "alert": self.alert, "stored partner": self.stored_lead, "stored endpoint": self.stored_event,
        }  # fmt: skip

    async def store(self, crm_url: str) -> None:
        """Add a partner and an endpoint whose secrets are sealed in the database, and wait until they may call."""
        made = await self._put("partners/stored", crmUrl=crm_url)
        self._stored["partner"] = next(each["value"] for each in made["newSecrets"] if each["kind"] == "signing")
        for secret in LISTS["PARTNER_ACME_CRM_SECRET"]:
            await self._put("partners/stored/secrets", "POST", kind="crm", value=secret)
        await self._put("endpoints/stripe/eu", secrets=[self._stored["endpoint"]])

        async def may_call() -> bool | None:
            for name in ("stored partner", "stored partner", "stored endpoint", "stored endpoint"):  # at each gateway
                status = await self.calls[name](0)
                self.done[name] += status < 300
                if status >= 300:
                    return None
            return True

        await eventually(may_call)

    async def _put(self, path: str, method: str = "PUT", **body: Any) -> Any:
        headers = {"X-Internal-Token": self.secret("ADMIN_API_TOKEN")}
        async with self._http.request(method, f"{self.door().internal}/v1/admin/{path}", json=body, headers=headers) as answer:
            assert answer.status < 300, await answer.text()
            return await answer.json()

    async def run(self) -> None:
        await asyncio.gather(*(self._again(name, call) for name, call in self.calls.items()))

    def end(self) -> None:
        self._ended.set()

    async def step(self) -> None:
        """Return once each kind of call has succeeded some more times."""
        before = self.done.copy()
        await eventually(lambda: self._have_passed(before))

    async def change(self, mount: Mount, texts: dict[str, str], *names: str) -> None:
        """Write these secrets to the files, wait until all of them (or `names`) are taken, and return some calls later."""
        swapped = datetime.now(UTC)
        mount.swap(**texts)
        await self.until_taken({name: texts[name] for name in names or texts}, swapped)
        await self.step()

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
        """Send a thin event, whose object the payments worker fetches from Stripe's API."""
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
        return (await post_stripe(self._http, self.door().public, json.dumps(event).encode(), secret=secret)).status

    async def razorpay(self, place: int) -> int:
        secret = self.secret("RAZORPAY_WEBHOOK_SECRET", place)
        return (await post_razorpay(self._http, self.door().public, razorpay.Payment().captured(), secret=secret)).status

    async def signed_lead(self, place: int) -> int:
        body = partner.lead(stripe.random_id("crm"), "acme")
        return await self._lead(body, {"X-Partner-Signature": partner.sign_body(body, self.secret("PARTNER_ACME_SECRET", place))})

    async def lead(self, place: int) -> int:
        token = self.secret("PARTNER_OTHER_TOKEN", place)
        return await self._lead(partner.lead(stripe.random_id("crm"), "other"), {"Authorization": f"Bearer {token}"})

    async def _lead(self, body: bytes, proof: dict[str, str]) -> int:
        headers = {"Content-Type": "application/json", **proof}
        async with self._http.post(f"{self.door().public}/v1/webhooks/partner/leads", data=body, headers=headers) as answer:
            return answer.status

    async def service(self, place: int) -> int:
        return (await self.get("/internal/v1/config", self.secret("INTERNAL_API_TOKEN", place)))[0]

    async def operator(self, place: int) -> int:
        return (await self.get("/v1/admin/replays", self.secret("ADMIN_API_TOKEN", place)))[0]

    async def reader(self, place: int) -> int:
        return (await self.get("/v1/admin/replays", self.secret("READ_API_TOKEN", place)))[0]

    async def get(self, path: str, token: str) -> tuple[int, str]:
        async with self._http.get(self.door().internal + path, headers={"X-Internal-Token": token}) as answer:
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

    async def search(self, place: int) -> int:
        doc = {"title": "A flat"}
        return await self._command(place, "search/index", index="properties", id=stripe.random_id("flat"), op="upsert", doc=doc)

    async def alert(self, _: int) -> int:
        """Raise an alert as a process does."""
        raised = AlertRaised(alert="parked", subject="stripe", summary="look", runbook="runbooks/README.md")
        event = event_of(raised, aggregate_id="parked", source="/alerts", occurred_at=datetime.now(UTC), trace=new_trace())
        async with await psycopg.AsyncConnection.connect(self._system.database_url, autocommit=True) as connection:
            await append(connection, [event])
        self.alerts.add(str(event.id))
        return 200

    async def stored_lead(self, _: int) -> int:
        body = partner.lead(stripe.random_id("crm"), "stored")
        return await self._lead(body, {"X-Partner-Signature": partner.sign_body(body, self._stored["partner"])})

    async def stored_event(self, _: int) -> int:
        now = time.time()
        body = stripe.Payment().succeeded(int(now))
        headers = {"Content-Type": "application/json", "Stripe-Signature": stripe.sign(body, self._stored["endpoint"], now)}
        url = f"{self.door().public}/v1/webhooks/stripe/eu"
        async with self._http.post(url, data=body, headers=headers) as answer:
            return answer.status

    async def _command(self, place: int, path: str, **body: Any) -> int:
        headers = {"X-Internal-Token": self.secret("INTERNAL_API_TOKEN", place)}
        async with self._http.post(f"{self.door().internal}/internal/v1/{path}", json=body, headers=headers) as answer:
            return answer.status

    async def until_taken(self, texts: dict[str, str], since: datetime) -> None:
        """Return once every process that reads them has taken these texts; print how long the last one took."""
        wanted = {TakenChange(name, ids_of(text), process) for name, text in texts.items() for process in READERS[name]}

        async def all_taken() -> list[datetime] | None:
            status, text = await self.get("/v1/admin/secrets", self.secret("ADMIN_API_TOKEN"))
            assert status == 200, text
            taken = defaultdict[TakenChange, dict[str, datetime]](dict)
            for each in json.loads(text)["changes"]:
                if each["outcome"] == "taken":
                    taken_change = TakenChange(each["setting"], tuple(each["ids"]), process_of(each["process"]))
                    taken[taken_change][each["process"]] = datetime.fromisoformat(each["at"])
            there = all(len(taken[each]) >= _NUMBER.get(each.process, 1) for each in wanted)
            return [moment for each in wanted for moment in taken[each].values()] if there else None

        moments = await eventually(all_taken)
        self.changes += wanted
        print(f"in force everywhere after {(max(moments) - since).total_seconds():.2f} s")  # noqa: T201  # for the reader of the run
