"""The processes of the system."""

from typing import Annotated

import typer

from runtime.settings import environment


def gateway() -> None:
    """Run the gateway until SIGTERM: the public and the internal listener in one process."""
    from gateway import process

    raise typer.Exit(process.main(environment()))


def relay() -> None:
    """Run one relay until SIGTERM; start as many as you like, they share the work."""
    from ops.commands.forgetting import forgets
    from outbox import process

    raise typer.Exit(process.main(environment(), *forgets(environment())))


def worker(
    role: Annotated[str, typer.Argument(help="Which effects to work: alerts, cache, leads, notifications, payments or search.")],
) -> None:
    """Run one worker of a role until SIGTERM; workers of a role share its partitions."""
    from streams import process

    if role not in process.ROLES:
        raise typer.BadParameter(f"there is no worker {role!r}; there are: {', '.join(process.ROLES)}", param_hint="ROLE")
    raise typer.Exit(process.main(role, environment()))
