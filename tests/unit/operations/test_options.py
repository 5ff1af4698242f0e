"""Options that are fields of a record: every command has those of the same question over HTTP, and refuses alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
import typer
from typer.testing import CliRunner

from operations.options import options_from
from operations.output import CommandError
from operations.webhook_replay.filters import ReplayWebhooks

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAMES = ("ids", "source", "status", "from", "limit", "rate")


def asked_by(words: Sequence[str]) -> ReplayWebhooks:
    found: list[ReplayWebhooks] = []
    app = typer.Typer()

    @app.command()
    @options_from(ReplayWebhooks, *_NAMES)
    def replay(asked: ReplayWebhooks, *, loud: bool = False) -> None:
        assert not loud
        found.append(asked)

    result = CliRunner().invoke(app, list(words))
    if result.exception:
        raise result.exception
    return found[0]


def test_options_become_the_record() -> None:
    one, other = UUID(int=1), UUID(int=2)
    words = ["--id", str(one), "--id", str(other), "--source", "stripe", "--status", "rejected", "--limit", "5", "--rate", "0.5"]
    assert asked_by(words) == ReplayWebhooks(ids=(one, other), source="stripe", status="rejected", limit=5, rate=0.5)
    assert asked_by([]) == ReplayWebhooks()


def test_a_time_may_be_how_long_ago() -> None:
    since = asked_by(["--from", "2h"]).since
    assert since is not None
    assert timedelta(0) <= datetime.now(UTC) - timedelta(hours=2) - since < timedelta(minutes=5)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--status", "lost"], "--status is one of accepted, duplicate, ignored, rejected"),
        (["--rate", "0"], "--rate is more than 0 and at most 1000"),
        (["--limit", "1.5"], "--limit is a whole number from 1 to 100000"),
        (["--source", "a b"], "--source has characters that are not allowed, or too many of them"),
        (["--id", "1"], "--id has characters that are not allowed, or too many of them"),
        (["--from", "soon"], "'soon' is neither a time such as 2026-11-24T10:00 nor how long ago, such as 2h"),
        (["--id", str(UUID(int=1))] * 1001, "--id Expected `array` of length <= 1000"),
    ],
)
def test_the_command_refuses_the_same_values_as_http(words: list[str], text: str) -> None:
    with pytest.raises(CommandError) as refusal:
        asked_by(words)
    assert str(refusal.value) == text
