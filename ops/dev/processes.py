"""Our processes that `up` runs, with the addresses on which they listen."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ops.stack.errors import PortTaken
from ops.stack.supervisor import ProcessSpec
from runtime.addresses import LOOPBACK, address
from schemas.topology import EVERY_ROLE, process_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ops.stack.ports import Ports

WORKERS: Final = ("payments", "cache", "search", "notifications", "leads", "alerts")
TOGETHER: Final = (WORKERS,)
"""One process for all roles."""
SPLIT: Final = tuple((role,) for role in WORKERS)
"""A process for each role."""
TALLYHOOK: Final = str(Path(sys.executable).with_name("tallyhook"))
SINK: Final = "mail-sink"
_SINK_VARIABLES: Final = ("NOTIFY_EMAIL_URL", "NOTIFY_SMS_URL", "NOTIFY_PUSH_URL")
_CERT: Final = "INTERNAL_TLS_CERT"
_OPERATORS: Final = "operators@tallyhook.local"
_GATEWAY, _WORKER, _RELAY, _SINK = range(4)  # the gateway, which accepts events, stops first; the sink, which gets messages, last


@dataclass(frozen=True)
class Sink:
    """The ports of the sink, and the channels that lead there because nothing else is set for them."""

    smtp: int
    web: int
    variables: tuple[str, ...]
    takes_alerts: bool

    @property
    def environment(self) -> dict[str, str]:
        urls = (
            f"mailto://{LOOPBACK}:{self.smtp}/?from=no-reply@tallyhook.local&name=Tallyhook",
            f"json://{LOOPBACK}:{self.web}/sms",
            f"json://{LOOPBACK}:{self.web}/push",
        )
        found = {name: url for name, url in zip(_SINK_VARIABLES, urls, strict=True) if name in self.variables}
        return found | ({"ALERT_TO": _OPERATORS} if self.takes_alerts else {})


@dataclass(frozen=True)
class Listeners:
    """Host and port of everything our processes listen on."""

    public: tuple[str, int]
    internal: tuple[str, int]
    relay: int
    workers: Mapping[tuple[str, ...], int]
    """The port of each worker process, by its roles."""
    sink: Sink
    internal_cert: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PUBLIC_HOST": self.public[0],
            "PUBLIC_PORT": str(self.public[1]),
            "INTERNAL_HOST": self.internal[0],
            "INTERNAL_PORT": str(self.internal[1]),
            **({_CERT: self.internal_cert} if self.internal_cert else {}),
            "RELAY_WEB_PORT": str(self.relay),
            **self.sink.environment,
        }


def take_listeners(ports: Ports, settings: Mapping[str, str], workers: Sequence[tuple[str, ...]] = TOGETHER) -> Listeners:
    """
    A port for each listener: the one that is set, which must be free, or else its default or a free one.

    `workers` are the roles of each of their processes.

    Raises PortTaken with every port that is set and not free.
    """
    taken: list[str] = []

    def take(listener: str, variable: str, well_known: int, host: str = LOOPBACK) -> int:
        wanted = settings.get(variable)
        try:
            return ports.take_exactly(listener, int(wanted), host) if wanted else ports.take(listener, well_known)
        except PortTaken as error:
            taken.append(str(error))
            return 0

    public_host = settings.get("PUBLIC_HOST") or LOOPBACK
    internal_host = settings.get("INTERNAL_HOST") or LOOPBACK
    first_worker = int(settings.get("STREAMS_WEB_PORT") or 6066)
    found = Listeners(
        public=(public_host, take("public", "PUBLIC_PORT", 8080, public_host)),
        internal=(internal_host, take("internal", "INTERNAL_PORT", 8081, internal_host)),
        relay=take("relay", "RELAY_WEB_PORT", 6060),
        workers={roles: ports.take(process_of(roles), first_worker + place) for place, roles in enumerate(workers)},
        sink=Sink(
            smtp=ports.take("mail_sink_smtp", 2525),
            web=ports.take("mail_sink", 8025),
            variables=tuple(name for name in _SINK_VARIABLES if not settings.get(name)),
            takes_alerts=not settings.get("ALERT_TO") and not settings.get("NOTIFY_EMAIL_URL"),
        ),
        internal_cert=settings.get(_CERT),
    )
    if taken:
        raise PortTaken("; ".join(taken))
    return found


def processes(listeners: Listeners) -> tuple[ProcessSpec, ...]:
    """Everything that runs beside the servers."""
    relay = address((LOOPBACK, listeners.relay))
    return (
        *_sink(listeners.sink),
        ProcessSpec(
            name="relay",
            command=(TALLYHOOK, "relay"),
            ready_url=f"{relay}/health/ready",
            live_url=f"{relay}/health/live",
            web=relay,
            stop_rank=_RELAY,
            stop_limit=timedelta(seconds=15),
        ),
        *(_worker(roles, port) for roles, port in listeners.workers.items()),
        ProcessSpec(
            name="gateway",
            command=(TALLYHOOK, "gateway"),
            ready_url=f"{address(listeners.public)}/health/ready",
            live_url=f"{address(listeners.public)}/health/live",
            web=address(listeners.public),
            stop_rank=_GATEWAY,
        ),
    )


def _sink(sink: Sink) -> tuple[ProcessSpec, ...]:
    """The process of the sink, if a channel leads there."""
    web = address((LOOPBACK, sink.web))
    command = (sys.executable, "-m", "ops.sink", str(sink.smtp), str(sink.web))
    spec = ProcessSpec(name=SINK, command=command, ready_url=f"{web}/health/ready", web=web, stop_rank=_SINK)
    return (spec,) if sink.variables else ()


def _worker(roles: tuple[str, ...], port: int) -> ProcessSpec:
    web = address((LOOPBACK, port))
    return ProcessSpec(
        name=process_of(roles),
        command=(TALLYHOOK, "worker", *((EVERY_ROLE,) if roles == WORKERS else roles)),
        environment={"STREAMS_WEB_PORT": str(port)},
        ready_url=f"{web}/health/ready",
        live_url=f"{web}/health/live",
        web=web,
        stop_rank=_WORKER,
    )
