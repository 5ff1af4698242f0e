"""The network of a machine with a relay and a leads worker is cut silently: the others soon take over what they held."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp
import pytest

from ops.dev.processes import TALLYHOOK
from outbox.locks import Kind
from tests.faults.accounting import assert_ledger
from tests.faults.waits import UNDER_WAY, Client, Served, load
from tests.needs import missing
from tests.simulators import partner
from tests.simulators.crm import SECRET, running_crm
from tests.system import Doors, System, running_system
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.stack import Stack

BEFORE: Final = 12
AWAY: Final = 40
"""The numbers of leads sent before and during the cut."""
OURS, THEIRS = "10.213.7.1", "10.213.7.2"
KEEPER: Final = ("unshare", "-n", "cat")
PROBE: Final = ("unshare", "-n", "ip", "link", "add", "left", "type", "veth", "peer", "name", "right")
NOWHERE: Final = "02:00:00:00:00:01"
PARTNERS: Final = [f"partner{n}" for n in range(12)]
# Locks held by processes on the island; the two keys of an advisory lock are its class and its object.
HELD: Final = """
select count(*) from pg_locks join pg_stat_activity using (pid)
where locktype = 'advisory' and objsubid = 2 and granted and classid = %s and client_addr = %s
"""


class Island:
    """A network namespace from which 127.0.0.1 is this machine, over a link that can be cut."""

    def __init__(self, process: subprocess.Popen[bytes], link: str) -> None:
        self._process = process
        self._link = link

    def command(self, *words: str) -> list[str]:
        return ["nsenter", "-t", str(self._process.pid), "-n", *words]

    def cut(self) -> None:
        """Route every packet to an unused address from now on: both ends see only silence."""
        _run("ip", "neigh", "replace", THEIRS, "lladdr", NOWHERE, "dev", self._link, "nud", "permanent")
        _run(*self.command("ip", "neigh", "replace", OURS, "lladdr", NOWHERE, "dev", f"{self._link}i", "nud", "permanent"))

    def mend(self) -> None:
        _run("ip", "neigh", "del", THEIRS, "dev", self._link)
        _run(*self.command("ip", "neigh", "del", OURS, "dev", f"{self._link}i"))


@contextmanager
def island() -> Iterator[Island]:
    link, ours = f"th{os.getpid()}", Path("/proc/self/ns/net").readlink()
    with subprocess.Popen(KEEPER, stdin=subprocess.PIPE) as process:  # ends with its input
        found = Island(process, link)
        there = f"{link}i"
        wait_until(lambda: Path(f"/proc/{process.pid}/ns/net").readlink() != ours)
        _run("ip", "link", "add", link, "type", "veth", "peer", "name", there)
        try:
            _run("ip", "link", "set", there, "netns", str(process.pid))
            _up(link, OURS)
            _up(there, THEIRS, found)
            _run(*found.command("ip", "route", "add", "127.0.0.1/32", "via", OURS, "dev", there, "src", THEIRS))
            yield found
        finally:
            _run("ip", "link", "del", link)


def _up(link: str, address: str, inside: Island | None = None) -> None:
    steps = (
        ("ip", "addr", "add", f"{address}/30", "dev", link),
        ("ip", "link", "set", link, "up"),
        ("sh", "-c", f"echo 1 > /proc/sys/net/ipv4/conf/{link}/route_localnet"),
    )
    for step in steps:
        _run(*(inside.command(*step) if inside else step))


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"


def _why_not() -> str | None:
    """Return the reason why this machine cannot make a namespace."""
    lacking = [tool for tool in ("ip", "unshare", "nsenter") if shutil.which(tool) is None]
    if lacking:
        return f"needs {', '.join(lacking)}"
    done = subprocess.run(PROBE, capture_output=True, check=False)
    return (
        None if done.returncode == 0 else "may not make network namespaces here: needs root, or CAP_NET_ADMIN and CAP_SYS_ADMIN"
    )


def _let_in(system: System, address: str) -> None:
    """Postgres trusts no client from another address."""
    rules = next(system.stack.data_dir.rglob("pg_hba.conf"))
    with rules.open("a") as file:
        file.write(f"host all all {address}/32 scram-sha-256\n")
    system.query("select pg_reload_conf()")


@contextmanager
def running_there(system: System, there: Island, folder: Path) -> Iterator[None]:
    """A relay and a leads worker on the island."""
    environment = system.environment | {"RELAY_WEB_HOST": "0.0.0.0", "STREAMS_WEB_HOST": "0.0.0.0"}  # noqa: S104  # reachable from the namespace only
    with ExitStack() as ends:
        for words in (("relay",), ("worker", "leads")):
            output = ends.enter_context((folder / f"{words[-1]}.log").open("wb"))
            process = subprocess.Popen(there.command(TALLYHOOK, *words), env=environment, stdout=output, stderr=output)
            ends.callback(process.wait)
            ends.callback(process.kill)
        yield


def held(system: System, kind: Kind) -> int:
    return int(system.query(HELD, kind, THEIRS)[0][0])


def wait_shared(system: System) -> None:
    wait_until(lambda: held(system, Kind.RELAY_SHARD) > 20 and held(system, Kind.LEADS_SHARD) > 20)


@pytest.mark.timeout(240)
async def test_work_held_behind_a_cut_link_is_soon_taken_over(empty_stack: Stack, tmp_path: Path) -> None:
    if why := _why_not():
        missing(why)
    served = Served()
    async with running_crm() as crm, aiohttp.ClientSession() as http:
        settings = partner.settings(crm.url, SECRET, *PARTNERS)
        with ExitStack() as ends:
            system = await asyncio.to_thread(ends.enter_context, running_system(empty_stack, workers=("leads",), **settings))
            _let_in(system, THEIRS)
            there = ends.enter_context(island())
            ends.enter_context(running_there(system, there, tmp_path))
            await asyncio.to_thread(wait_shared, system)
            client = Client(http, Doors(system.public, system.internal), served, PARTNERS)
            await load(client.lead, BEFORE)
            there.cut()
            await load(client.lead, AWAY)
            await asyncio.to_thread(wait_until, lambda: served.is_done(system))
            assert held(system, Kind.RELAY_SHARD) == held(system, Kind.LEADS_SHARD) == 0
            there.mend()
            await asyncio.to_thread(wait_shared, system)
            await load(client.lead, BEFORE)
            await asyncio.to_thread(wait_until, lambda: served.is_done(system))
            delivered = Counter(taken.message_id for taken in crm.taken)
            await asyncio.to_thread(assert_once, system, served, delivered)


def assert_once(system: System, served: Served, delivered: Counter[str]) -> None:
    leads = served.number("lead")
    assert len(delivered) == leads
    assert delivered.total() - leads <= UNDER_WAY
    assert system.count("outbox where type = 'lead.delivered'") == leads
    assert_ledger(system, partner=leads)
