"""`env.example` lists every setting that something reads, once, with a comment and its true default."""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from limits import RateLimitItem

import gateway.settings
import outbox.settings
import projections.retention
import runtime.kafka
import runtime.servers
import schemas.partners
import streams.alerts.handler
import streams.notifications.settings
import streams.settings
from operations.backfill import settings as backfill_settings
from ops.dev.secrets_file import NEEDED
from ops.stack.stack import VARIABLES
from runtime import outgoing, secret_files
from runtime.settings import Settings, SettingsError
from tests.compose import FILE, SPLIT, VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH: Final = Path(__file__).parents[2] / "env.example"
ENTRY: Final = re.compile(r"(?P<default>#?)(?P<name>[A-Z][A-Z0-9_]*)=(?P<value>.*)")
LINES: Final = PATH.read_text().splitlines()
ENTRIES: Final = {match["name"]: match for line in LINES if (match := ENTRY.fullmatch(line))}
# Settings that are not read by a Settings class.
READ_ELSEWHERE: Final = {*VARIABLES.values(), *NEEDED, "OTEL_EXPORTER_OTLP_ENDPOINT"} - {"SECRET_KEYS"}
OPTIONAL_ELSEWHERE: Final = {
    *outgoing.VARIABLES,
    outgoing.MIRROR,
    secret_files.FOLDER,
    *(match["name"] for file in (FILE, SPLIT) for match in VARIABLE.finditer(file.read_text())),
}


def _settings(parent: type[Settings] = Settings) -> Iterator[type[Settings]]:
    modules = (
        gateway.settings,
        backfill_settings,
        outbox.settings,
        projections.retention,
        runtime.kafka,
        runtime.servers,
        streams.settings,
        streams.notifications.settings,
        streams.alerts.handler,
    )
    ours = {module.__name__ for module in modules}
    for kind in parent.__subclasses__():
        if kind.__module__ in ours:
            yield kind
        yield from _settings(kind)


# Each is read from variables whose names match a pattern.
GATHERED: Final = {"partners"}
FIELDS: Final = {name.upper(): field for kind in _settings() for name, field in kind.model_fields.items() if name not in GATHERED}


REQUIRED: Final = {
    "DATABASE_URL": "postgresql://x",
    "KAFKA_BOOTSTRAP_SERVERS": "x:9092",
    "REDIS_URL": "redis://x",
    "ELASTICSEARCH_URL": "http://x:9200",
}


def test_exactly_the_settings_that_are_read_are_listed() -> None:
    assert set(ENTRIES) == set(FIELDS) | READ_ELSEWHERE | OPTIONAL_ELSEWHERE


def test_the_variables_of_a_partner_are_shown_as_a_pattern() -> None:
    shown = {line for line in LINES if line.startswith("#PARTNER_")}
    assert shown == {f"#PARTNER_{{ID}}{suffix}=" for suffix in schemas.partners.FIELDS}


def test_nothing_is_listed_twice() -> None:
    assert len(ENTRIES) == sum(bool(ENTRY.fullmatch(line)) for line in LINES)


def test_each_has_one_comment_line_above_it() -> None:
    above = {ENTRY.fullmatch(line)["name"]: before for before, line in pairwise(LINES) if ENTRY.fullmatch(line)}
    assert [name for name, before in above.items() if not before.startswith("# ")] == []


def test_required_settings_are_empty_and_the_rest_is_commented_out() -> None:
    required = {name for name, field in FIELDS.items() if field.is_required()} | READ_ELSEWHERE
    assert {name for name, entry in ENTRIES.items() if not entry["default"]} == required
    assert all(not ENTRIES[name]["value"] for name in required)


@pytest.mark.parametrize("kind", sorted({*_settings()}, key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__)
def test_the_defaults_shown_are_those_of_the_code(kind: type[Settings]) -> None:
    required = {
        name.upper(): REQUIRED.get(name.upper(), f"made-for-{name}")
        for name, field in kind.model_fields.items()
        if field.is_required()
    }
    shown = {name: entry["value"] for name, entry in ENTRIES.items() if entry["default"]}
    assert kind.load(shown | required) == kind.load(required)


# A duration of zero makes no busy loop: it means no waiting, or that everything is overdue at once.
MAY_BE_ZERO: Final = {
    "COMMAND_WAIT",
    "SHUTDOWN_DELAY",
    "SHUTDOWN_GRACE",
    "RETENTION_GRACE",
    "LEDGER_GRACE",
    "REJECTED_KEPT_PER_HOUR",
}
BEYOND: Final = [
    "-1", "inf", "nan", "1e400", "9" * 30, "9" * 5000, "999999999999", "0x10", "1\n2", "true", "½", "99999999999999999/second",
]  # fmt: skip


@pytest.mark.parametrize("kind", sorted({*_settings()}, key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__)
def test_no_number_no_duration_and_no_rate_is_without_bounds(kind: type[Settings]) -> None:
    measured = {
        name.upper(): field
        for name, field in kind.model_fields.items()
        if isinstance(field.default, int | timedelta | RateLimitItem) and not isinstance(field.default, bool)
    }
    for name in measured:
        zero = [] if name in MAY_BE_ZERO or name.endswith("_PORT") else ["0", "0s", "0ms", "0/second"]
        for text in BEYOND + zero:
            with pytest.raises(SettingsError) as caught:
                kind.load({name: text})
            assert [problem for problem in caught.value.problems if problem.startswith(f"{name}: ")] != [], (name, text)
