"""Settings of the alerts worker."""

from datetime import timedelta

from runtime.settings import Duration
from schemas.operations import Channel
from streams.settings import StreamSettings


class AlertSettings(StreamSettings):
    """A process of the alerts worker."""

    alert_to: str | None = None
    """Whom alerts are told to: a user id or a contact of the channel; unset, they are on alert.events and in the metrics only."""
    alert_channel: Channel = "EMAIL"
    """How: EMAIL, SMS or PUSH."""
    alert_window: Duration = timedelta(minutes=5)
    """How long one message speaks for all alerts of its kind."""
