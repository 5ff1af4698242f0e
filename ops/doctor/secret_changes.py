"""Examines the latest changes of files with secrets, as the processes recorded them: some may have been refused."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import psycopg

from ops.doctor.findings import ok, warn
from ops.doctor.settings import SECRETS, address_in
from ops.doctor.store import LIMIT
from outbox import secret_changes
from runtime.endpoints import check_database
from runtime.sessions import connect_async

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ops.doctor.findings import Finding
    from outbox.secret_changes import SecretChange

_RECENT: Final = timedelta(days=1)


def check_secret_changes(environ: Mapping[str, str]) -> list[Finding]:
    """Report the changes of the last day, and the settings whose last file was refused."""
    url = address_in(environ, "DATABASE_URL", check_database)
    try:
        return list(findings_of(asyncio.run(_read(url)))) if url else []
    except psycopg.Error:
        return []  # reported by the examination of Postgres


async def _read(url: str) -> Sequence[SecretChange]:
    async with await connect_async(url, name="doctor", statement=LIMIT) as connection:
        now = datetime.now(UTC)
        return [change for change in await secret_changes.latest(connection, now) if change.at > now - _RECENT]


def findings_of(changes: Sequence[SecretChange]) -> Iterator[Finding]:
    """Report the last change of each setting in each process; `changes` are newest first."""
    last = {(change.setting, change.process): change for change in reversed(changes)}
    taken: dict[tuple[str, str], list[SecretChange]] = {}
    for change in last.values():
        if change.outcome == "refused":
            act = "its log line secret_refused has the cause: correct the file"
            text = f"{change.process} refused the file of {change.setting} at {change.at:%H:%M:%S} UTC, and uses the previous one"
            yield warn(SECRETS, text, act, "rotate-secrets")
        else:
            taken.setdefault((change.setting, ", ".join(change.ids) or "none"), []).append(change)
    for (setting, ids), found in taken.items():
        latest = max(change.at for change in found)
        yield ok(SECRETS, f"{setting} changed to {ids}, last at {latest:%H:%M:%S} UTC, in {len(found)} processes")
