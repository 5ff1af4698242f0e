"""`tallyhook replay`."""

import typer

from operations.offset_replay import command as replay_offsets
from operations.webhook_replay import command as replay_webhooks

app = typer.Typer(no_args_is_help=True, help="Send stored deliveries again, or let a worker read a topic again.")
app.command("offsets")(replay_offsets.offsets)
app.command("webhooks")(replay_webhooks.webhooks)
app.command("show")(replay_webhooks.show_replay)
app.command("cancel")(replay_webhooks.cancel)
