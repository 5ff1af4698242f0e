"""The status of a stack as `./dev status` and `./dev up` print it: 80 columns, nothing cut, and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ops.dev.lines import WIDTH, beside, wrapped
from ops.dev.processes import SINK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ops.dev.servers import ServerStatus
    from ops.dev.status import ProcessStatus, StackStatus

_READY: Final = "ready"
_ROW: Final = "{:<22}{:<12}{:>8}{:>10}  "
_SAID: Final = 26
"""The column in which what is said of a command begins; of a page, the next one."""
_SAID_OF_PAGES: Final = 40


def report_of(status: StackStatus, data_dir: Path, *, foreground: bool = False) -> str:
    """What runs where, how it is, what can be opened, and what to do next; without passwords."""
    pages = [beside(f"  {url}", said, _SAID_OF_PAGES) for url, said in _pages(status)]
    parts = [
        wrapped(headline(status)),
        "\n".join(_table(status)),
        "\n".join(["To open in a browser:", *pages]) if pages else "",
        f"Logs, beside the data:\n  {data_dir / 'log'}",
        "\n".join(["Next:", *_next(status, foreground=foreground)]),
    ]
    return "\n\n".join(filter(None, parts))


def _all(status: StackStatus) -> list[ServerStatus | ProcessStatus]:
    return [*status.servers, *status.processes]


def headline(status: StackStatus) -> str:
    """Whether all is well, and what is not."""
    unready = [f"{each.name} ({each.state})" for each in _all(status) if each.state != _READY]
    if status.phase == "starting":
        return f"Tallyhook is starting{': not ready yet are ' + ', '.join(unready) if unready else ''}"
    if status.phase == _READY and not unready:
        return "Tallyhook is ready"
    return f"Tallyhook runs, but it is NOT READY: {', '.join(unready) or status.phase}"


def _table(status: StackStatus) -> Iterator[str]:
    yield _ROW.format("what", "state", "pid", "restarts") + "listens on"
    for server in status.servers:
        yield _row(server, server.where)
    for process in status.processes:
        where = (process.web or "").partition("://")[2]
        if process.name == "gateway" and status.internal:
            yield _row(process, f"{where} (public)")
            yield beside("", f"{status.internal.partition('://')[2]} (internal)", len(_ROW.format("", "", "", "")))
        else:
            yield _row(process, where)


def _row(each: ServerStatus | ProcessStatus, where: str) -> str:
    """A long address, or a list of them, goes below its row, whole."""
    head = _ROW.format(each.name, each.state, each.pid or "-", each.restarts)
    line = (head + where).rstrip()
    return line if len(line) <= WIDTH else f"{head.rstrip()}\n{wrapped(where.replace(',', ', '), '    ')}"


def _pages(status: StackStatus) -> Iterator[tuple[str, str]]:
    """Of what is ready only: every page that is named opens."""
    ready = {each.name: each.web for each in status.processes if each.web and each.state == _READY}
    if sink := ready.get(SINK):
        yield sink, "mail, SMS, push and partners' leads"
    if worker := ready.get("worker-payments"):
        yield f"{worker}/topology", "who reads and writes what, and how far"
    if "gateway" in ready and status.internal and status.internal.startswith("http://"):  # no browser has the certificate for TLS
        yield f"{status.internal}/openapi.json", "every route of both listeners"
    if gateway := ready.get("gateway"):
        yield f"{gateway}/health/ready", "whether webhooks are taken"
    if relay := ready.get("relay"):
        yield f"{relay}/metrics", "figures, here those of the relay"


def _next(status: StackStatus, *, foreground: bool) -> Iterator[str]:
    starting = status.phase == "starting"
    unready = [each for each in _all(status) if each.state != _READY and not starting]
    if starting:
        yield beside("  ./dev status", "look again; it is ready within a minute or so", _SAID)
    elif not unready:
        yield beside("  ./dev demo", "send a payment and a lead, and see where each goes", _SAID)
    if not starting:
        yield beside('  eval "$(./dev env)"', "the settings, tallyhook and psql for this shell", _SAID)
        yield beside("  tallyhook doctor", "then: what is wrong, and what to do about it", _SAID)
    yield beside("  Ctrl-C here" if foreground else "  ./dev down", "stop everything in order; the data stays", _SAID)
    for each in unready:
        if each.log:
            yield f"  the log of {each.name}:\n    {each.log}"
