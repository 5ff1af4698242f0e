"""`tallyhook topics`."""

from typing import Annotated

import typer

from operations.output import Json, show
from runtime.settings import environment

app = typer.Typer(no_args_is_help=True, help="Create the Kafka topics of Tallyhook.")


@app.command("ensure")
def ensure(
    replication: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="Copies of each topic that is created; default: KAFKA_REPLICATION_FACTOR."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Create the topics that are missing and add partitions where there are too few; never removes any."""
    from outbox import topics
    from outbox.settings import TopicSettings

    environ = environment()
    settings = TopicSettings.load(environ | ({"KAFKA_REPLICATION_FACTOR": str(replication)} if replication else {}))
    done = topics.ensure(settings.kafka, settings.kafka_replication_factor, settings.kafka_min_insync_replicas)
    text = f"topics: {len(done.created)} created, {len(done.grown)} grown, {len(done.kept)} as they should be"
    show(done._asdict(), text, as_json=as_json)
