"""The findings of an examination."""

from __future__ import annotations

from typing import Literal, NamedTuple

from runtime.redaction import error_text

Level = Literal["ok", "warn", "fail"]


class Finding(NamedTuple):
    """
    One thing that was examined.

    `text` is one line; `act` is the remedy if there is one, `runbook` the page with more. None holds a secret.
    """

    area: str
    level: Level
    text: str
    act: str = ""
    runbook: str = ""


def ok(area: str, text: str) -> Finding:
    return Finding(area, "ok", text)


def warn(area: str, text: str, act: str, page: str = "") -> Finding:
    return Finding(area, "warn", text, act, f"runbooks/{page}.md" if page else "")


def fail(area: str, text: str, act: str, page: str = "") -> Finding:
    return Finding(area, "fail", text, act, f"runbooks/{page}.md" if page else "")


def one_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class if it has none."""
    return next(iter(error_text(error).splitlines()), "")[:200] or type(error).__name__
