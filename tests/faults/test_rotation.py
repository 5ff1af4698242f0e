"""Every kind of secret is rotated in its file while load runs: nothing that either secret would pass is refused."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import aiohttp
import psycopg
import pytest
from psycopg import sql

from runtime.secret_watch import ids_of
from tests.faults.rotating import ADDRESSES, LISTS, PASSWORDS, Load, Receivers, accounts, receivers
from tests.mounts import Mount
from tests.simulators.crm import Crm, running_crm
from tests.simulators.stripe_api import StripeApi, stripe_api
from tests.system import System, running_system
from tests.waiting import eventually, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from ops.stack import Stack


def texts_of(place: int, receivers: Receivers, stack: Stack) -> dict[str, str]:
    """The settings with the secrets of before, or with those after it."""
    _, _, server = stack.postgres.url.rpartition("@")
    _, _, cache = stack.environment["REDIS_URL"].rpartition("@")
    return {
        **{name: secrets[place] for name, secrets in LISTS.items()},
        "DATABASE_URL": f"postgresql://rotated:{PASSWORDS[place]}@{server}",
        "REDIS_URL": f"redis://rotated:{PASSWORDS[place]}@{cache}",
        **{name: receivers.address(name, PASSWORDS[place]) for name in ("NOTIFY_EMAIL_URL", "NOTIFY_SMS_URL")},
    }


def settings_of(folder: Path, crm: Crm, api: StripeApi) -> dict[str, Any]:
    return {
        "SECRETS_DIR": str(folder),
        "PARTNER_ACME_CRM_URL": f"{crm.url}/acme",
        "OUTBOUND_ALLOW": "127.0.0.0/8",
        "STRIPE_API_BASE": api.url,
        "STRIPE_API_RATE": "100",
        "LEAD_POLL": "50ms",
        "NOTIFY_POLL": "50ms",
        "CACHE_KEY_PREFIX": "shop:",
        **dict.fromkeys((*LISTS, *ADDRESSES), ""),
    }


@pytest.mark.timeout(600)
async def test_every_secret_is_rotated_under_load_and_nothing_is_refused(empty_stack: Stack, tmp_path: Path) -> None:
    with stripe_api() as api, accounts(empty_stack) as (postgres, cache):
        async with receivers() as receiving, running_crm() as crm, aiohttp.ClientSession() as http:
            before, after = (texts_of(place, receiving, empty_stack) for place in (0, 1))
            both = after | {name: f"{new},{old}" for name, (old, new) in LISTS.items()}
            api.keys = {LISTS["STRIPE_API_KEY"][0]}
            mount = Mount(tmp_path / "secrets", **before)
            running = running_system(empty_stack, together=True, **settings_of(mount.folder, crm, api))
            system = await asyncio.to_thread(running.__enter__)
            try:
                load = Load(http, system, api)
                calling = asyncio.create_task(load.run())
                await load.step()
                # Those that know both: the receivers. Postgres knows one password an account, and has the old one for now.
                api.keys = {*LISTS["STRIPE_API_KEY"]}
                receiving.passwords = {*PASSWORDS}
                cache.acl_setuser("rotated", enabled=True, passwords=[f"+{PASSWORDS[1]}"])
                swapped = datetime.now(UTC)
                mount.swap(**both)
                await load.until_taken(both, swapped)
                await load.step()
                # The other side changes over.
                load.place = 1
                crm.secret = LISTS["PARTNER_ACME_CRM_SECRET"][1]
                postgres.execute(sql.SQL("alter role rotated password {}").format(PASSWORDS[1]))
                await load.step()
                api.keys = {LISTS["STRIPE_API_KEY"][1]}
                receiving.passwords = {PASSWORDS[1]}
                cache.acl_setuser("rotated", enabled=True, passwords=[f"-{PASSWORDS[0]}"])
                cache.client_kill_filter(user="rotated")
                swapped = datetime.now(UTC)
                mount.swap(**after)
                await load.until_taken({name: after[name] for name in LISTS}, swapped)
                await load.step()
                load.end()
                await calling
                assert load.refusals == []
                assert (crm.refused, api.refused, receiving.refused) == (0, 0, 0)
                await everything_is_done(system, load)
                assert receiving.taken["sms"] == load.done["sms"]
                assert receiving.taken["mail"] >= load.done["mail"]  # payments bring some of their own
                await only_the_new_ones_pass(load)
                await the_audit_log_has_them(load)
                await new_connections_use_the_new_password(postgres, load, system)
            finally:
                await asyncio.to_thread(running.__exit__, None, None, None)


async def everything_is_done(system: System, load: Load) -> None:
    """Every effect of every call that was taken, once."""
    wanted = {
        "payments where provider = 'stripe' and status = 'succeeded'": load.done["stripe"],
        "payments where provider = 'razorpay'": load.done["razorpay"],
        "leads where partner = 'ACME' and status = 'delivered'": load.done["signed lead"],
        "notifications where status = 'sent' and recipient = 'ada@example.com'": load.done["mail"],
        "notifications where status = 'sent' and channel = 'SMS'": load.done["sms"],
        "tasks where status = 'done' and position('cache' in kind) > 0": load.done["cache"],
    }

    def found() -> dict[str, int]:
        return {what: system.count(what) for what in wanted}

    with suppress(AssertionError):  # it would not say what is missing
        await asyncio.to_thread(wait_until, lambda: found() == wanted)
    assert found() == wanted


async def only_the_new_ones_pass(load: Load) -> None:
    refusing = ("stripe", "razorpay", "signed lead", "lead with a token", "service", "operator")
    assert {name: await load.calls[name](0) for name in refusing} == dict.fromkeys(refusing, 401)
    assert all([await load.calls[name](1) < 300 for name in refusing])


async def the_audit_log_has_them(load: Load) -> None:
    """Both steps of a setting, by the public ids alone."""
    old, new = LISTS["STRIPE_WEBHOOK_SECRET"]
    status, text = await load.get("/v1/admin/audit?path=STRIPE_WEBHOOK_SECRET", load.secret("ADMIN_API_TOKEN"))
    assert status == 200
    assert [(each["method"], each["path"], each["status"]) for each in json.loads(text)["items"]] == [
        ("SECRET", f"STRIPE_WEBHOOK_SECRET={','.join(ids_of(secrets))}", 200) for secrets in (new, f"{new},{old}")
    ]
    assert not any(secret in text for secret in (old, new))


async def new_connections_use_the_new_password(postgres: psycopg.Connection, load: Load, system: System) -> None:
    """Nobody has a session any more: what is done from now on is done over new ones."""
    postgres.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'rotated'")

    async def passes() -> bool | None:
        return await load.signed_lead(1) < 300 or None

    await eventually(passes)

    async def delivered() -> bool | None:
        return system.count("leads where partner = 'ACME' and status <> 'delivered'") == 0 or None

    await eventually(delivered)
