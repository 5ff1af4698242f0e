"""Every kind of secret is rotated in its file under load at two gateways: no request with either secret is refused."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp
import psycopg
import pytest
from psycopg import sql

from ops.doctor.secret_changes import check_secret_changes
from runtime.seals import Seals
from runtime.secret_files import Environ
from runtime.settings import Secret
from tests.faults.receiving import API_KEYS, PASSWORDS, Receivers, SearchDoor, accounts, receivers, search_door
from tests.faults.rotating import ADDRESSES, LISTS, Load, process_of
from tests.mounts import Mount
from tests.simulators.crm import Crm, running_crm
from tests.simulators.stripe_api import StripeApi, stripe_api
from tests.system import System, running_system
from tests.waiting import eventually, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import redis

    from ops.stack import Stack


class Others(NamedTuple):
    """All servers and receivers beside the system."""

    api: StripeApi
    postgres: psycopg.Connection
    cache: redis.Redis
    receivers: Receivers
    search: SearchDoor
    crm: Crm
    hook: Crm

    def texts(self, place: int, stack: Stack) -> dict[str, str]:
        """Return the settings with the old secrets, or with the new ones."""
        _, _, server = stack.postgres.url.rpartition("@")
        _, _, cache = stack.environment["REDIS_URL"].rpartition("@")
        return {
            **{name: secrets[place] for name, secrets in LISTS.items()},
            "DATABASE_URL": f"postgresql://rotated:{PASSWORDS[place]}@{server}",
            "REDIS_URL": f"redis://rotated:{PASSWORDS[place]}@{cache}",
            **{name: self.receivers.address(name, PASSWORDS[place]) for name in ("NOTIFY_EMAIL_URL", "NOTIFY_SMS_URL")},
            "ALERT_WEBHOOK_URL": f"{self.hook.url}/alerts{place}",
            "ELASTICSEARCH_URL": self.search.address(place),
        }

    def accept_both(self) -> None:
        """Make every server accept both secrets, except Postgres, which stores one per account and keeps the old one."""
        self.api.keys = {*LISTS["STRIPE_API_KEY"]}
        self.receivers.passwords = {*PASSWORDS}
        self.search.logins = {self.search.by_password(place) for place in (0, 1)}
        self.cache.acl_setuser("rotated", enabled=True, passwords=[f"+{PASSWORDS[1]}"])

    def change_over(self) -> None:
        self.crm.secret = LISTS["PARTNER_ACME_CRM_SECRET"][1]
        self.hook.secret = LISTS["ALERT_WEBHOOK_SECRET"][1]
        self.postgres.execute(sql.SQL("alter role rotated password {}").format(PASSWORDS[1]))

    def refuse_the_old(self) -> None:
        self.api.keys = {LISTS["STRIPE_API_KEY"][1]}
        self.receivers.passwords = {PASSWORDS[1]}
        self.search.logins = {self.search.by_password(1)}
        self.cache.acl_setuser("rotated", enabled=True, passwords=[f"-{PASSWORDS[0]}"])
        self.cache.client_kill_filter(user="rotated")

    @property
    def refused(self) -> dict[str, int]:
        counting = {"crm": self.crm, "hook": self.hook, "api": self.api, "receivers": self.receivers, "search": self.search}
        return {name: each.refused for name, each in counting.items() if each.refused}


@asynccontextmanager
async def others(stack: Stack) -> AsyncIterator[Others]:
    with stripe_api() as api, accounts(stack) as (postgres, cache):
        api.keys = {LISTS["STRIPE_API_KEY"][0]}
        async with (
            receivers() as receiving,
            search_door(stack.elasticsearch.url) as search,
            running_crm() as crm,
            running_crm() as hook,
        ):
            yield Others(api, postgres, cache, receiving, search, crm, hook)


def settings_of(folder: Path, others: Others) -> dict[str, Any]:
    return {
        "SECRETS_DIR": str(folder),
        "PARTNER_ACME_CRM_URL": f"{others.crm.url}/acme",
        "OUTBOUND_ALLOW": "127.0.0.0/8",
        "STRIPE_API_BASE": others.api.url,
        "STRIPE_API_RATE": "100",
        "LEAD_POLL": "50ms",
        "NOTIFY_POLL": "50ms",
        "ALERT_WINDOW": "1ms",
        "CACHE_KEY_PREFIX": "shop:",
        **dict.fromkeys((*LISTS, *ADDRESSES), ""),
    }


@pytest.mark.timeout(600)
async def test_every_secret_is_rotated_under_load_and_nothing_is_refused(empty_stack: Stack, tmp_path: Path) -> None:
    async with others(empty_stack) as beside, aiohttp.ClientSession() as http:
        before, after = (beside.texts(place, empty_stack) for place in (0, 1))
        both = after | {name: f"{new},{old}" for name, (old, new) in LISTS.items()}
        mount = Mount(tmp_path / "secrets", **before)
        running = running_system(empty_stack, together=True, doubled=("gateway",), **settings_of(mount.folder, beside))
        system = await asyncio.to_thread(running.__enter__)
        try:
            load = Load(http, system, beside.api)
            await load.store(f"{beside.crm.url}/stored")
            calling = asyncio.create_task(load.run())
            await load.step()
            beside.accept_both()
            await load.change(mount, both)
            load.place = 1
            beside.change_over()
            await load.step()
            await asyncio.to_thread(system.run, "partners", "reseal")
            beside.refuse_the_old()
            await load.change(mount, after, *LISTS)
            await an_api_key_takes_the_place_of_a_password(load, mount, beside.search, after)
            load.end()
            await calling
            assert load.refusals == []
            assert beside.refused == {}
            await everything_is_done(system, load)
            assert beside.receivers.taken["sms"] == load.done["sms"]
            assert beside.receivers.taken["mail"] >= load.done["mail"]  # payments cause further mails
            assert {*beside.search.taken} >= {
                f(place) for f in (beside.search.by_password, beside.search.by_key) for place in (0, 1)
            }
            await the_alerts_have_come(load, beside.hook)
            assert {key for (key,) in system.query("select key_id from partners union select key_id from endpoints")} == {
                Seals((Secret(after["SECRET_KEYS"]),)).newest
            }
            await only_the_new_ones_pass(load)
            await every_change_is_reported(load, system)
            await new_connections_use_the_new_password(beside.postgres, load, system)
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)


async def an_api_key_takes_the_place_of_a_password(load: Load, mount: Mount, door: SearchDoor, texts: dict[str, str]) -> None:
    """The login leaves the address when the API key is set, and then the key is rotated."""
    for place in (0, 1):
        door.logins.add(door.by_key(place))
        keyed = texts | {"ELASTICSEARCH_URL": door.url, "ELASTICSEARCH_API_KEY": API_KEYS[place]}
        await load.change(mount, keyed, *(("ELASTICSEARCH_URL",) if place == 0 else ()), "ELASTICSEARCH_API_KEY")
        door.logins = {door.by_key(place)}
        await load.step()


async def the_alerts_have_come(load: Load, hook: Crm) -> None:
    """Assert that each alert arrived once, at the old or the new address."""

    async def all_there() -> bool | None:
        return load.alerts <= {*hook.ids("/alerts0"), *hook.ids("/alerts1")} or None

    await eventually(all_there)
    came = [each for path in ("/alerts0", "/alerts1") for each in hook.ids(path)]
    assert len(came) == len({*came})
    assert hook.ids("/alerts0")
    assert hook.ids("/alerts1")


async def everything_is_done(system: System, load: Load) -> None:
    """Assert every effect of every accepted call, once."""
    wanted = {
        "payments where provider = 'stripe' and status = 'succeeded'": load.done["stripe"] + load.done["stored endpoint"],
        "payments where provider = 'razorpay'": load.done["razorpay"],
        "leads where partner = 'ACME' and status = 'delivered'": load.done["signed lead"],
        "leads where partner = 'STORED' and status = 'delivered'": load.done["stored partner"],
        "notifications where status = 'sent' and recipient = 'ada@example.com'": load.done["mail"],
        "notifications where status = 'sent' and channel = 'SMS'": load.done["sms"],
        "tasks where status = 'done' and position('cache' in kind) > 0": load.done["cache"],
        "tasks where status = 'done' and position('search' in kind) > 0": load.done["search"],
    }

    def found() -> dict[str, int]:
        return {what: system.count(what) for what in wanted}

    with suppress(AssertionError):  # its message would not name what is missing
        await asyncio.to_thread(wait_until, lambda: found() == wanted)
    assert found() == wanted


async def only_the_new_ones_pass(load: Load) -> None:
    refusing = ("stripe", "razorpay", "signed lead", "lead with a token", "service", "operator", "reader")
    for name in refusing:
        call = load.calls[name]
        assert [await call(0), await call(0)] == [401, 401], name  # at each gateway
        assert max(await call(1), await call(1)) < 300, name


async def every_change_is_reported(load: Load, system: System) -> None:
    """Assert that audit log and doctor report each change in each process that reads it, by public ids only."""
    doctor = await asyncio.to_thread(check_secret_changes, Environ(system.settings))
    texts = [finding.text for finding in doctor]
    for name in {change.setting for change in load.changes}:
        status, text = await load.get(f"/v1/admin/audit?path={name}", load.secret("ADMIN_API_TOKEN"))
        assert status == 200, text
        logged = {(each["path"], process_of(each["client"]), each["status"]) for each in json.loads(text)["items"]}
        of_it = [change for change in load.changes if change.setting == name]
        assert logged == {(f"{name}={','.join(change.ids)}", change.process, 200) for change in of_it}
        assert any(found.startswith(f"{name} changed to {', '.join(of_it[-1].ids)}, last at ") for found in texts), (name, texts)
        texts.append(text)
    hidden = [*PASSWORDS, *API_KEYS, *(secret for pair in LISTS.values() for secret in pair)]
    assert not any(secret in text for secret in hidden for text in texts)


async def new_connections_use_the_new_password(postgres: psycopg.Connection, load: Load, system: System) -> None:
    """End every session: all work from now on needs new connections."""
    postgres.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'rotated'")

    async def passes() -> bool | None:
        return await load.signed_lead(1) < 300 or None

    await eventually(passes)

    async def delivered() -> bool | None:
        return system.count("leads where partner = 'ACME' and status <> 'delivered'") == 0 or None

    await eventually(delivered)
