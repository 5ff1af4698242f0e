"""`tallyhook`: the operators' command line. Errors are one line on stderr and a non-zero exit."""

import json
import sys
from typing import Annotated, Any

import psycopg
import typer

from runtime.settings import SettingsError, environment

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
topics_app = typer.Typer(no_args_is_help=True, help="Kafka topics.")
outbox_app = typer.Typer(no_args_is_help=True, help="The outbox: what waits for Kafka, and what was set aside.")
app.add_typer(topics_app, name="topics")
app.add_typer(outbox_app, name="outbox")

Json = Annotated[bool, typer.Option("--json", help="Print data as JSON.")]


@app.command()
def gateway() -> None:
    """Run the gateway until SIGTERM: the public and the internal listener in one process."""
    from gateway import process

    raise typer.Exit(process.main(environment()))


@app.command()
def relay() -> None:
    """Run one relay until SIGTERM; start as many as you like, they share the work."""
    from outbox import process

    raise typer.Exit(process.main(environment()))


@app.command()
def worker(
    role: Annotated[str, typer.Argument(help="Which effects to work: alerts, cache, leads, notifications, payments or search.")],
) -> None:
    """Run one worker of a role until SIGTERM; workers of a role share its partitions."""
    from streams import process

    if role not in process.ROLES:
        raise typer.BadParameter(f"there is no worker {role!r}; there are: {', '.join(process.ROLES)}", param_hint="ROLE")
    raise typer.Exit(process.main(role, environment()))


@app.command()
def migrate(as_json: Json = False) -> None:
    """Bring the database to the newest revision, and make its daily partitions."""
    from migrations import chain
    from outbox.process import keep_partitions
    from outbox.settings import RetentionSettings

    settings = RetentionSettings.load(environment())
    before, after = chain.upgrade(settings.database_url)
    upkeep = keep_partitions(settings)
    _show(
        {"before": before, "after": after, "partitionsCreated": len(upkeep.created)},
        f"database at revision {after}" + (" already" if before == after else f", was {before or 'empty'}"),
        as_json=as_json,
    )


@topics_app.command("ensure")
def topics_ensure(
    replication: Annotated[int, typer.Option(min=1, help="Replicas of a topic that is created.")] = 1, as_json: Json = False
) -> None:
    """Create the topics that are missing and add partitions where there are too few; never removes any."""
    from outbox import topics
    from outbox.settings import KafkaSettings

    settings = KafkaSettings.load(environment())
    done = topics.ensure(settings.kafka_bootstrap_servers, replication)
    text = f"topics: {len(done.created)} created, {len(done.grown)} grown, {len(done.kept)} as they should be"
    _show(done._asdict(), text, as_json=as_json)


@app.command()
def retention(as_json: Json = False) -> None:
    """Make the partitions of the days ahead and drop those older than RETENTION_DAYS; relays do the same every hour."""
    from outbox.process import keep_partitions
    from outbox.settings import RetentionSettings

    done = keep_partitions(RetentionSettings.load(environment()))
    text = f"partitions: {len(done.created)} created, {len(done.dropped)} dropped, {len(done.deferred)} due but in use"
    _show(done._asdict(), text, as_json=as_json)


@outbox_app.command("status")
def outbox_status(as_json: Json = False) -> None:
    """How many events wait for Kafka, since when, and which are parked."""
    from outbox import store

    with _database() as connection:
        depth, parked = store.depth(connection), store.parked(connection)
    rows = [row._asdict() for row in parked]
    text = f"{depth.pending} pending, oldest {depth.oldest or '-'}, {depth.parked} parked"
    text += "".join(f"\n  {row.id}  {row.event_id}  {row.parked_at:%Y-%m-%d %H:%M:%S}  {row.reason}" for row in parked)
    _show(depth._asdict() | {"parkedRows": rows}, text, as_json=as_json)


@outbox_app.command("unpark")
def outbox_unpark(ids: Annotated[list[int], typer.Argument(help="Ids as `outbox status` shows them.")]) -> None:
    """Put parked events back in line, after what made Kafka refuse them is mended."""
    from outbox import store

    with _database() as connection:
        done = store.unpark(connection, ids)
    if missing := sorted(set(ids) - set(done)):
        raise CommandError(f"not parked: {', '.join(map(str, missing))}" + (f"; back in line: {done}" if done else ""))
    typer.echo(f"back in line: {', '.join(map(str, done))}")


class CommandError(Exception):
    """A command could not do what it was asked; the text says why, in one line."""


def main() -> None:
    """Entry of the console script."""
    try:
        app()
    except (SettingsError, CommandError) as error:
        _fail(str(error))
    except psycopg.Error as error:
        _fail(f"Postgres: {str(error).strip().splitlines()[0]}")
    except Exception as error:
        if not hasattr(error, "reason"):
            raise
        _fail(f"{error.reason}: {error}")


def _fail(text: str) -> None:
    print(f"tallyhook: {text}", file=sys.stderr)
    raise SystemExit(1)


def _database() -> psycopg.Connection:
    from outbox.settings import DatabaseSettings

    return psycopg.connect(DatabaseSettings.load(environment()).database_url, autocommit=True, connect_timeout=5)


def _show(data: dict[str, Any], text: str, *, as_json: bool) -> None:
    print(json.dumps(data, default=str) if as_json else text)
