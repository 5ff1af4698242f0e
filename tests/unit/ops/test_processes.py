"""Channels send to the sink of the local stack unless they are set."""

from __future__ import annotations

import socket
from typing import Final

import pytest

from ops.dev.processes import SINK, SPLIT, TALLYHOOK, WORKERS, processes, take_listeners
from ops.dev.status import describe
from ops.stack.errors import PortTaken
from ops.stack.ports import Ports
from ops.stack.state import StackState
from runtime.addresses import LOOPBACK, address

ELSEWHERE: Final = {
    "NOTIFY_EMAIL_URL": "mailto://mail.example.com",
    "NOTIFY_SMS_URL": "json://sms.example.com",
    "NOTIFY_PUSH_URL": "json://push.example.com",
}


def test_without_providers_all_channels_lead_to_the_sink() -> None:
    listeners = take_listeners(Ports(), {})
    assert listeners.environment.keys() >= ELSEWHERE.keys()
    [sink] = [spec for spec in processes(listeners) if spec.name == SINK]
    assert sink.command[-2:] == (str(listeners.sink.smtp), str(listeners.sink.web))


def test_a_provider_that_is_set_is_kept() -> None:
    listeners = take_listeners(Ports(), {"NOTIFY_SMS_URL": ELSEWHERE["NOTIFY_SMS_URL"]})
    assert listeners.environment.keys() & ELSEWHERE.keys() == {"NOTIFY_EMAIL_URL", "NOTIFY_PUSH_URL"}


def test_with_providers_for_all_channels_there_is_no_sink() -> None:
    listeners = take_listeners(Ports(), ELSEWHERE)
    assert not listeners.environment.keys() & ELSEWHERE.keys()
    assert SINK not in {spec.name for spec in processes(listeners)}


def test_status_names_a_listener_by_its_scheme() -> None:
    for settings, scheme in (({}, "http"), ({"INTERNAL_TLS_CERT": "internal.pem"}, "https")):
        listeners = take_listeners(Ports(), settings)
        status = describe(StackState(environment=listeners.environment))
        assert (status.internal, status.public) == (f"{scheme}://127.0.0.1:{listeners.internal[1]}", address(listeners.public))


def test_every_port_that_is_taken_is_reported_at_once() -> None:
    with socket.create_server((LOOPBACK, 0)) as one, socket.create_server((LOOPBACK, 0)) as other:
        settings = {"PUBLIC_PORT": str(one.getsockname()[1]), "RELAY_WEB_PORT": str(other.getsockname()[1])}
        with pytest.raises(PortTaken, match=r"public is to listen.*relay is to listen"):
            take_listeners(Ports(), settings)


def test_ports_may_be_any_and_the_last_worker_beyond_the_last_port() -> None:
    listeners = take_listeners(Ports(well_known=True), {"PUBLIC_PORT": "0", "INTERNAL_PORT": "0", "STREAMS_WEB_PORT": "65534"})
    assert all(0 < port <= 65_535 for port in (listeners.public[1], listeners.internal[1], *listeners.workers.values()))


def test_one_worker_has_every_role_or_each_has_its_own() -> None:
    settings = {"STREAMS_WEB_PORT": "0", **ELSEWHERE}
    [relay, worker, gateway] = processes(take_listeners(Ports(), settings))
    assert (relay.name, worker.name, gateway.name) == ("relay", "worker-all", "gateway")
    assert worker.command == (TALLYHOOK, "worker", "all")
    split = [spec for spec in processes(take_listeners(Ports(), settings, SPLIT)) if spec.name.startswith("worker")]
    assert [(spec.name, spec.command) for spec in split] == [(f"worker-{role}", (TALLYHOOK, "worker", role)) for role in WORKERS]
    assert len({spec.web for spec in split}) == len(WORKERS)


def test_a_process_of_some_roles_is_named_after_them() -> None:
    [worker] = [spec for spec in processes(take_listeners(Ports(), {}, [("cache", "leads")])) if spec.name.startswith("worker")]
    assert (worker.name, worker.command) == ("worker-cache-leads", (TALLYHOOK, "worker", "cache", "leads"))
