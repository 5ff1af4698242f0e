"""What `./dev status`, `up` and `demo` print: 80 columns, no cut words, the faults, and the next steps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from ops.demo.journey import Station, text_of
from ops.dev.lines import WIDTH, wrapped
from ops.dev.report import headline, report_of
from ops.dev.servers import ServerStatus
from ops.dev.status import ProcessStatus, StackStatus

DATA: Final = Path("/home/somebody/some-very-long-folder-of-a-user/tallyhook-root/checkout-of-tallyhook-d516e80f08")
WELL: Final = StackStatus(
    phase="ready",
    public="http://127.0.0.1:8080",
    internal="http://127.0.0.1:8081",
    mail="http://127.0.0.1:8025",
    servers=(
        ServerStatus("postgres", "ready", "127.0.0.1:5432/tallyhook", pid=4_194_304, log="/l/postgres.log"),
        ServerStatus("kafka", "ready", "b-1.kafka.eu-central-1.amazonaws.com:9098,b-2.kafka.eu-central-1.amazonaws.com:9098"),
    ),
    processes=(
        ProcessStatus("mail-sink", 16, "ready", "/l/mail-sink.log", 0, "http://127.0.0.1:8025"),
        ProcessStatus("relay", 17, "ready", "/l/relay.log", 3, "http://127.0.0.1:6060"),
        ProcessStatus("worker-notifications", 18, "ready", "/l/n.log", 0, "http://127.0.0.1:6069"),
        ProcessStatus("worker-payments", 19, "ready", "/l/p.log", 0, "http://127.0.0.1:6066"),
        ProcessStatus("gateway", 20, "ready", "/l/gateway.log", 0, "http://[2001:db8:85a3:8d3:1319:8a2e:370:7348]:8080"),
    ),
)


def with_state(name: str, state: str) -> StackStatus:
    def changed(each: ServerStatus | ProcessStatus) -> dict[str, str]:
        return {"state": state} if each.name == name else {}

    servers = tuple(ServerStatus(**{**_fields(each), **changed(each)}) for each in WELL.servers)
    processes = tuple(ProcessStatus(**{**_fields(each), **changed(each)}) for each in WELL.processes)
    return StackStatus(**{**_fields(WELL), "servers": servers, "processes": processes})


def _fields(record: ServerStatus | ProcessStatus | StackStatus) -> dict[str, object]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


def too_wide(text: str) -> list[str]:
    """Return lines beyond the width that have more than one word; a single word, such as a path, is not cut."""
    return [line for line in text.splitlines() if len(line) > WIDTH and len(line.split()) > 1]


def test_a_status_fits_and_cuts_nothing() -> None:
    text = report_of(WELL, DATA)
    assert too_wide(text) == []
    assert "…" not in text
    words = text.split()
    for whole in (
        str(DATA / "log"),
        "b-2.kafka.eu-central-1.amazonaws.com:9098",
        "http://127.0.0.1:6066/topology",
        "127.0.0.1:8081",
    ):
        assert whole in words


def test_it_shows_pid_restarts_and_state_of_servers_and_processes() -> None:
    rows = {line.split()[0]: line.split()[1:] for line in report_of(WELL, DATA).splitlines() if line.split()}
    assert rows["postgres"] == ["ready", "4194304", "0", "127.0.0.1:5432/tallyhook"]
    assert rows["relay"] == ["ready", "17", "3", "127.0.0.1:6060"]
    assert rows["kafka"] == ["ready", "-", "0"]


@pytest.mark.parametrize(("name", "state"), [("relay", "restarting"), ("postgres", "no answer"), ("gateway", "hung")])
def test_the_headline_names_what_is_not_ready_and_the_end_where_its_log_is(name: str, state: str) -> None:
    assert headline(WELL) == "Tallyhook is ready"
    ill = with_state(name, state)
    assert headline(ill) == f"Tallyhook runs, but it is NOT READY: {name} ({state})"
    text = report_of(ill, DATA)
    assert f"/l/{name}.log" in text
    assert "./dev demo" not in text
    web = next((each.web for each in ill.processes if each.name == name), None)
    assert web is None or web not in re.findall(r"http://[^/\s]+", text)  # no page is named that would not open
    assert "tallyhook doctor" in text


def test_it_ends_with_the_next_steps() -> None:
    assert re.findall(r"^  (\./dev \w+|eval .*\)\"|tallyhook \w+|Ctrl-C here)", report_of(WELL, DATA), re.MULTILINE) == [
        "./dev demo", 'eval "$(./dev env)"', "tallyhook doctor", "./dev down",
    ]  # fmt: skip
    assert "Ctrl-C here" in report_of(WELL, DATA, foreground=True)


def test_while_it_starts_it_shows_that_and_names_no_missing_page() -> None:
    text = report_of(StackStatus(phase="starting"), DATA)
    assert text.startswith("Tallyhook is starting\n")
    assert "http" not in text
    assert "./dev demo" not in text


def test_a_journey_fits_and_cuts_no_id() -> None:
    payment = "pi_3MtwBwLkdIwHu7ix28a3tqPa0123456789abcdef"
    where = f"payment {payment}: partially_refunded, 1234.56 EUR, reconciliation unexpected"
    text = text_of("A payment", [Station(17.4, "com.stripe.payment_intent.succeeded", where)])
    assert too_wide(text) == []
    assert f"{payment}:" in text.split()


def test_a_word_that_is_too_long_is_whole_on_its_own_line() -> None:
    assert wrapped(f"see {'x' * 100} for it").splitlines() == ["see", f"  {'x' * 100}", "  for it"]
