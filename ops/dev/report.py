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
_SHOWING: Final = ("worker-all", "worker-payments")
"""The workers whose page shows the most."""
_ROW: Final = "{:<22}{:<12}{:>8}{:>10}  "
_REMARK: Final = 26
"""The column in which the remark on a command begins; that on a page begins one further."""
_PAGE_REMARK: Final = 40


def report_of(status: StackStatus, data_dir: Path, *, foreground: bool = False) -> str:
    """Return the report of a stack: servers and processes with address and state, pages to open, next steps; no passwords."""
    pages = [beside(f"  {url}", remark, _PAGE_REMARK) for url, remark in _pages(status)]
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
    """Return the first line: that everything is ready, or the names of those that are not."""
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
    """Format a row; a long address, or a list of addresses, is printed whole below it."""
    head = _ROW.format(each.name, each.state, each.pid or "-", each.restarts)
    line = (head + where).rstrip()
    return line if len(line) <= WIDTH else f"{head.rstrip()}\n{wrapped(where.replace(',', ', '), '    ')}"


def _pages(status: StackStatus) -> Iterator[tuple[str, str]]:
    """List the pages of processes that are ready, so that every page in the list opens."""
    ready = {each.name: each.web for each in status.processes if each.web and each.state == _READY}
    if sink := ready.get(SINK):
        yield sink, "mail, SMS, push and partners' leads"
    if worker := next((web for name, web in ready.items() if name in _SHOWING), None):
        yield f"{worker}/topology", "readers and writers of each topic, and their lag"
    if "gateway" in ready and status.internal and status.internal.startswith("http://"):  # no browser has the certificate for TLS
        yield f"{status.internal}/openapi.json", "every route of both listeners"
    if gateway := ready.get("gateway"):
        yield f"{gateway}/health/ready", "whether the gateway takes webhooks"
    if relay := ready.get("relay"):
        yield f"{relay}/metrics", "metrics of the relay"


def _next(status: StackStatus, *, foreground: bool) -> Iterator[str]:
    starting = status.phase == "starting"
    unready = [each for each in _all(status) if each.state != _READY and not starting]
    if starting:
        yield beside("  ./dev status", "look again; it is ready within a minute or so", _REMARK)
    elif not unready:
        yield beside("  ./dev demo", "send a payment and a lead, and follow each to its effects", _REMARK)
    if not starting:
        yield beside('  eval "$(./dev env)"', "the settings, tallyhook and psql for this shell", _REMARK)
        yield beside("  tallyhook doctor", "then: examine the system, with a remedy for each fault", _REMARK)
    yield beside("  Ctrl-C here" if foreground else "  ./dev down", "stop everything in order; the data stays", _REMARK)
    for each in unready:
        if each.log:
            yield f"  the log of {each.name}:\n    {each.log}"
