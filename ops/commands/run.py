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
    from ops.processes.forgetting import forgets

    settings = _settings_of("relay")
    raise typer.Exit(process.main(settings, *forgets(settings)))


def worker(
    role: Annotated[str, typer.Argument(help="The role: alerts, cache, leads, notifications, payments or search.")],
) -> None:
    """Run one worker of a role until SIGTERM; workers of a role share its partitions."""
    from ops.processes import worker as process
    from streams.roles import ROLES

    if role not in ROLES:
        raise typer.BadParameter(f"there is no worker {role!r}; there are: {', '.join(ROLES)}", param_hint="ROLE")
    raise typer.Exit(process.main(role, _settings_of(f"worker-{role}")))


def _settings_of(process: str) -> "Environ":
    """
    Return the settings after a review of all of them together; doubtful ones are logged.

    Raises SettingsError with everything that keeps this process from starting.
    """
    from runtime.logs import configure_logs

    # Beside this process: the settings of all the others bring libraries of which it would hold the memory for life.
    context = get_context("fork")
    ours, theirs = context.Pipe(duplex=False)  # where a pool would need shared memory, which not every container has
    beside = context.Process(target=_review, args=(theirs, process))
    beside.start()
    theirs.close()
    found: Review = ours.recv()
    beside.join()
    found.check()
    configure_logs(process)
    for warning in found.warnings:
        structlog.get_logger().warning("setting_doubtful", detail=warning)
    return environment()


def _review(answer: "Connection", process: str) -> None:
    from ops.settings.review import review

    answer.send(review(Path.cwd(), (process,)))
