"""Examines our own listeners: whether each answers, is ready, and belongs to the system of the doctor's database."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final

import psycopg

from ops.doctor import store
from ops.doctor.findings import fail, ok, one_line, warn
from ops.doctor.settings import address_in
from runtime.addresses import LOOPBACK, address, shown
from runtime.endpoints import check_database, is_port
from runtime.schema import read_schema
from runtime.sessions import connect

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ops.doctor.findings import Finding

LISTENERS: Final = "listeners"
_LIMIT: Final = 4.0
_PASSING: Final = ("stopping", "group_joining")
_PORTS: Final = {
    "public": ("PUBLIC", 8080),
    "internal": ("INTERNAL", 8081),
    "relay": ("RELAY_WEB", 6060),
    "worker": ("STREAMS_WEB", 6066),
}


def check_listeners(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Check that each is free, or answers as a listener of this system and is ready."""
    database = address_in(environ, "DATABASE_URL", check_database)
    system = _system_of(database) if database else None
    for name, (prefix, port) in _PORTS.items():
        host = environ.get(f"{prefix}_HOST") or LOOPBACK
        text = environ.get(f"{prefix}_PORT") or str(port)
        if is_port(text):
            secure = name == "internal" and bool(environ.get("INTERNAL_TLS_CERT"))
            yield _check_listener(name, address((host, int(text)), "https" if secure else "http"), system, shown(database or ""))


def _system_of(url: str) -> str | None:
    """Return the id of the system to which the database belongs, or None if it holds none."""
    try:
        with connect(url, name="doctor", statement=store.LIMIT) as connection:
            return read_schema(connection).system
    except psycopg.Error:
        return None


def _check_listener(name: str, url: str, system: str | None, database: str) -> Finding:
    health = f"{url}/health/ready"
    where = f"{name}, {health.partition('://')[2]}"
    secure = url.startswith("https:")  # without a certificate the doctor is refused; it sees only that something answers
    try:
        with _direct().open(health, timeout=_LIMIT) as answer:
            answered = _read(answer.read(5000))
    except urllib.error.HTTPError as refusal:
        with refusal:
            return _refused(where, refusal)
    except (OSError, HTTPException) as error:
        return _silent(where, getattr(error, "reason", error), secure=secure)
    if "ready" not in answered:
        return _stranger(where, "its answer is not ours")
    if system and answered.get("system", system) != system:
        act = "find out whose process it is: give ours another port, or the other one another DATABASE_URL"
        process = answered.get("process", "it")
        text = f"{where}: {process} answers for another system, {answered['system']}; {database} is {system}"
        return fail(LISTENERS, text, act, "schema")
    return ok(LISTENERS, f"{where}: {answered.get('process', 'it')} answers and is ready")


def _read(body: bytes) -> dict[str, Any]:
    try:
        answered = json.loads(body)
    except ValueError:
        return {}
    return answered if isinstance(answered, dict) else {}


def _refused(where: str, refusal: urllib.error.HTTPError) -> Finding:
    if refusal.code != HTTPStatus.SERVICE_UNAVAILABLE:
        return _stranger(where, f"it answers {refusal.code}")
    answered = _read(refusal.read(5000))
    reason = answered.get("reason")
    text = f"{where}: answers, and is not ready" + (f": {reason}, {answered.get('detail', '')}".rstrip(", ") if reason else "")
    report = fail if reason and reason not in _PASSING else warn
    return report(LISTENERS, text, "find out what it waits for; `/health/ready` answers 200 once that has come", "process-down")


def _silent(where: str, reason: object, *, secure: bool) -> Finding:
    if isinstance(reason, ConnectionRefusedError):
        return ok(LISTENERS, f"{where}: nothing listens there, it is free")
    if isinstance(reason, TimeoutError):
        act = "our process hangs or was stopped (`ps -o stat` shows T): read its log, end it and start it again"
        return fail(LISTENERS, f"{where}: accepts the connection and does not answer within {_LIMIT:.0f} s", act, "process-down")
    if secure and isinstance(reason, ssl.SSLError):
        return ok(LISTENERS, f"{where}: answers by TLS, and requires a client's certificate")
    return _stranger(where, one_line(reason) if isinstance(reason, BaseException) else str(reason))


def _stranger(where: str, detail: str) -> Finding:
    act = "end what listens there, or set another port"
    return fail(LISTENERS, f"{where}: something that is not ours listens there ({detail})", act, "process-down")


def _direct() -> urllib.request.OpenerDirector:
    """A client for our own listeners, without proxy or verification: it requests only health and sends no secret."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
