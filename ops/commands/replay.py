"""`tallyhook replay`: the commands of two capabilities in one group."""

import typer

from operations.offset_replay import command as offsets
from operations.webhook_replay import command as webhooks

app = typer.Typer(no_args_is_help=True, help="Send stored deliveries again, or let a worker read a topic again.")
app.command("offsets")(offsets.offsets)
app.command("webhooks")(webhooks.webhooks)
app.command("show")(webhooks.show_replay)
app.command("cancel")(webhooks.cancel)
