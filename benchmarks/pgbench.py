"""The speed of Postgres itself: `pgbench` on the same server, one event a transaction, the same rows as intake writes."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.beside import WorkFailed
from benchmarks.bodies import make_bodies
from schemas.stripe import DATASCHEMA

if TYPE_CHECKING:
    from benchmarks.system import System

STATEMENT: Final = Path(__file__).with_name("intake_statement.sql")
"""All four rows in one statement, in autocommit: the most that one-event transactions can reach, one round trip each."""
TRANSACTION: Final = Path(__file__).with_name("intake_transaction.sql")
"""`begin`, four inserts, `commit`: what an application does that writes event by event."""
_DONE: Final = re.compile(r"number of transactions actually processed: (\d+)")
_RATE: Final = re.compile(r"tps = ([\d.]+) \(without initial connection time\)")
_FAILED: Final = re.compile(r"number of failed transactions: (\d+)")


class Reached(NamedTuple):
    """Transactions in all, and a second."""

    transactions: int
    rate: float
    failed: int


def run(system: System, script: Path, clients: int, seconds: float) -> Reached:
    """One round in prepared mode; the body travels with every transaction as a parameter, as it does from the gateway."""
    postgres = system.stack.postgres
    [body] = make_bodies(1)
    words = ["-h", "127.0.0.1", "-p", str(postgres.port), "-U", "postgres", "-n", "-M", "prepared", "-f", str(script)]
    load = ["-c", str(clients), "-j", "1", "-T", str(max(1, round(seconds)))]
    # The schema's name too, as pgbench takes every colon with a letter behind it for a variable.
    variables = ["-D", f"body={body.data.decode()}", "-D", f"dataschema={DATASCHEMA}"]
    command = [postgres.programs / "pgbench", *words, *load, *variables, "tallyhook"]
    environment = {**os.environ, "PGPASSWORD": postgres.password}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    rate, transactions = _RATE.search(done.stdout), _DONE.search(done.stdout)
    if done.returncode or not rate or not transactions:
        raise WorkFailed(f"pgbench: {(done.stderr or done.stdout).strip()[:300]}")
    failed = _FAILED.search(done.stdout)
    return Reached(int(transactions[1]), float(rate[1]), int(failed[1]) if failed else 0)
