"""`tallyhook`: the operators' command line. Errors are one line on stderr and a non-zero exit."""

import os
import sys
from pathlib import Path

import psycopg
import typer

from console import command as console
from operations.backfill import command as backfill
from operations.dead_letters import command as dead_letters
from operations.deliveries import command as deliveries
from operations.endpoints import command as endpoints
from operations.endpoints import importing as endpoints_import  # noqa: F401  # adds a command to the group
from operations.endpoints import trial as endpoints_trial  # noqa: F401  # same
from operations.erasure import command as erase
from operations.find import command as find
from operations.ledger import command as ledger
from operations.offset_replay import command as replay_offsets
from operations.output import CommandError
from operations.partners import changes, importing, trial  # noqa: F401  # they add commands to the group
from operations.partners import command as partners
from operations.rebuild import command as rebuild
from operations.reconcile import command as reconcile
from operations.secrets import command as secrets
from operations.state import command as state
from operations.topology import command as topology
from operations.webhook_replay import command as replay_webhooks
from ops.commands import doctor, grants, outbox, run, setup
from runtime.errors import Failure
from runtime.logs import redact_uncaught
from runtime.redaction import error_text, redacted
from runtime.settings import SettingsError
from schemas.text import is_storable

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
for command in (run.gateway, run.relay, run.worker, setup.migrate, setup.retention, ledger.ledger, topology.topology):
    app.command()(command)
app.command()(doctor.doctor)
app.command()(doctor.check)
app.command()(grants.grants)
app.command()(erase.erase)
app.command()(find.find)
app.command()(rebuild.rebuild)
replay = typer.Typer(no_args_is_help=True, help="Send stored deliveries again, or let a worker read a topic again.")
replay.command("offsets")(replay_offsets.offsets)
replay.command("webhooks")(replay_webhooks.webhooks)
replay.command("show")(replay_webhooks.show_replay)
replay.command("cancel")(replay_webhooks.cancel)
for name, group in {
    "console": console.app,
    "topics": setup.app,
    "outbox": outbox.app,
    "replay": replay,
    "dead-letters": dead_letters.app,
    "deliveries": deliveries.app,
    "partners": partners.app,
    "endpoints": endpoints.app,
    "secrets": secrets.app,
    "backfill": backfill.app,
    "reconcile": reconcile.app,
    **state.GROUPS,
}.items():
    app.add_typer(group, name=name)


def main() -> None:
    """Entry of the console script."""
    redact_uncaught()
    if not is_storable(sys.argv):
        _fail("an argument is not UTF-8")
    try:
        _check_shell()
        app()
    except (SettingsError, CommandError) as error:
        _fail(str(error))
    except psycopg.Error as error:
        _fail(f"Postgres: {error_text(error).partition(chr(10))[0]}")
    except Failure as error:
        _fail(f"{error.reason}: {error}")


def _check_shell() -> None:
    """Settings of a local stack that is gone must not be taken for the operator's. Raises StackError `shell_stale`."""
    if "TALLYHOOK_DEV_ENV" in os.environ and "--help" not in sys.argv:
        from ops.dev import mark  # noqa: PLC0415  # of a shell on a developer's machine, which few commands run in

        mark.check(os.environ, Path.cwd())


def _fail(text: str) -> None:
    print(f"tallyhook: {redacted(text)}", file=sys.stderr)
    raise SystemExit(1)
