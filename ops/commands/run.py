"""The processes of the system."""

from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import structlog
import typer

from runtime.settings import environment

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from ops.settings.review import Review
    from runtime.secret_files import Environ


def gateway() -> None:
    """Run the gateway until SIGTERM: the public and the internal listener in one process."""
    from ops.processes import gateway as process

    raise typer.Exit(process.main(_settings_of("gateway")))


def relay() -> None:
    """Run one relay until SIGTERM; start as many as you like, they share the work."""
    from ops.processes import relay as process
    from ops.processes.deletions import deletions

    settings = _settings_of("relay")
    raise typer.Exit(process.main(settings, *deletions(settings)))


def worker(
    roles: Annotated[
        list[str],
        typer.Argument(metavar="ROLE", help="alerts, cache, leads, notifications, payments, search, or all of them: all."),
    ],
) -> None:
    """Run a worker of one role or of several until SIGTERM; workers of a role share its partitions."""
    from ops.processes import worker as process
    from schemas.topology import EVERY_ROLE, process_of
    from streams.roles import ROLES

    if unknown := [role for role in roles if role not in {*ROLES, EVERY_ROLE}]:
        there_are = ", ".join((*ROLES, EVERY_ROLE))
        raise typer.BadParameter(f"there is no worker {unknown[0]!r}; there are: {there_are}", param_hint="ROLE")
    names = [*ROLES] if EVERY_ROLE in roles else list(dict.fromkeys(roles))
    raise typer.Exit(process.main(names, _settings_of(process_of(names), *(f"worker-{role}" for role in names))))


def _settings_of(process: str, *parts: str) -> "Environ":
    """
    Return the settings after a review of all of them together; doubtful ones are logged.

    `parts` are the processes whose work it does, if there are several.

    Raises SettingsError with everything that keeps this process from starting.
    """
    from runtime.logs import configure_logs

    # In a child: the settings of all other processes import libraries whose memory this process would keep for life.
    context = get_context("fork")
    ours, theirs = context.Pipe(duplex=False)  # a pool would need shared memory, which not every container has
    beside = context.Process(target=_review, args=(theirs, parts or (process,)))
    beside.start()
    theirs.close()
    found: Review = ours.recv()
    beside.join()
    found.check()
    configure_logs(process)
    for warning in found.warnings:
        structlog.get_logger().warning("setting_doubtful", detail=warning)
    return environment()


def _review(answer: "Connection", processes: tuple[str, ...]) -> None:
    from ops.settings.review import review

    answer.send(review(Path.cwd(), processes))
