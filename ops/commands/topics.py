"""`tallyhook topics`."""

from typing import Annotated

import typer

from operations.output import Json, show
from runtime.settings import environment

app = typer.Typer(no_args_is_help=True, help="Create the Kafka topics of Tallyhook.")


@app.command("ensure")
def ensure(
    replication: Annotated[int, typer.Option(min=1, max=100, help="Replicas of each topic that is created.")] = 1,
    as_json: Json = False,
) -> None:
    """Create the topics that are missing and add partitions where there are too few; never removes any."""
    from outbox import topics
    from runtime.kafka import KafkaSettings

    settings = KafkaSettings.load(environment())
    done = topics.ensure(settings.kafka, replication)
    text = f"topics: {len(done.created)} created, {len(done.grown)} grown, {len(done.kept)} as they should be"
    show(done._asdict(), text, as_json=as_json)
