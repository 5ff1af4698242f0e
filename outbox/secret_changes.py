"""
Changes of secrets in the audit log: which process took or refused which secrets, by their public ids.

A row has the method `SECRET`, the setting and its ids as the path, and the process as the client.
"""

import os
import socket
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

import msgspec
from psycopg import AsyncConnection, Connection

from runtime.errors import Reason
from runtime.ids import first_id_of, id_at, time_of
from runtime.secret_watch import Change, Report
from runtime.sessions import connect
from runtime.tracing import new_trace

METHOD: Final = "SECRET"
_KEPT: Final = timedelta(days=30)
_SHOWN: Final = 200
_STATUS: Final = {"taken": 200, "refused": 422}

_INSERT: Final = """
insert into audit_log (id, method, path, status, reason, trace_id, duration_ms, client)
values (%s, %s, %s, %s, %s, %s, 0, %s) on conflict (id) do nothing
"""
_LATEST: Final = """
select id, path, status, client from audit_log where method = %s and id >= %s order by id desc limit %s
"""


class SecretChange(msgspec.Struct, frozen=True, kw_only=True):
    """A secret that changed in its file, as one process took it, or refused it."""

    at: datetime  #: When the process took or refused it.
    setting: str  #: The setting that holds the secret.
    ids: list[str]  #: The public ids of all secrets in the file, newest first; empty if the secret is gone or unreadable.
    outcome: Literal["taken", "refused"]  #: `refused` if the file is invalid: the process continues with the secrets it had.
    process: str  #: The process, its process id and its host.


def report_to_audit_log(process: str, database_url: str) -> Report:
    """Return a function that records changes as those of this process. It raises psycopg.Error."""
    client = f"{process} {os.getpid()} on {socket.gethostname()}"

    def report(changes: Sequence[Change]) -> None:
        with connect(database_url, name="secrets", statement=timedelta(seconds=10)) as connection:
            write(connection, changes, client)

    return report


def write(connection: Connection, changes: Sequence[Change], client: str) -> None:
    """Record the secrets that this client took or refused."""
    rows = [
        (
            id_at(change.at),
            METHOD,
            f"{change.setting}={','.join(change.ids)}",
            _STATUS[change.outcome],
            Reason.SECRET_REFUSED if change.outcome == "refused" else None,
            new_trace().trace_id,
            client,
        )
        for change in changes
    ]
    with connection.transaction():
        connection.cursor().executemany(_INSERT, rows)


async def latest(connection: AsyncConnection, now: datetime) -> list[SecretChange]:
    """Return the latest changes, newest first."""
    found = await connection.execute(_LATEST, (METHOD, first_id_of(now - _KEPT), _SHOWN))
    return [_change_of(*row) for row in await found.fetchall()]


def _change_of(row_id: UUID, path: str, status: int, client: str) -> SecretChange:
    setting, _, ids = path.partition("=")
    return SecretChange(
        at=time_of(row_id),
        setting=setting,
        ids=ids.split(",") if ids else [],
        outcome="taken" if status == _STATUS["taken"] else "refused",
        process=client,
    )
