"""Settings of the notifications worker."""

import re
from datetime import timedelta
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from runtime.endpoints import is_host
from runtime.settings import Duration, Poll, Timeout
from schemas.operations import Channel
from streams.settings import StreamSettings


def _check_url(url: str) -> str:
    from streams.notifications.senders import check_url  # noqa: PLC0415  # every process reads this, few have an address

    return check_url(url)


# Apprise parses it in its own way: where other URLs have a port, it may have a token.
ProviderUrl = Annotated[str, AfterValidator(_check_url), Field(repr=False)]
_DOMAIN: Final = re.compile(r"[A-Za-z0-9.-]+")


def _check_domain(domain: str) -> str:
    if not _DOMAIN.fullmatch(domain) or domain.endswith(".") or not is_host(domain):
        raise ValueError("a domain of letters, digits, dots and hyphens is expected")
    return domain


class NotificationSettings(StreamSettings):
    """A process of the notifications worker; a message over a channel without an address fails, with that reason."""

    notify_email_url: ProviderUrl = ""
    """The mail server in Apprise's notation, `mailto://user:password@host:port/?from=…`; `mailtos://` for TLS."""
    notify_sms_url: ProviderUrl = ""
    """The SMS provider in Apprise's notation; `{to}` and `{id}` are replaced, else the number is added as the target."""
    notify_push_url: ProviderUrl = ""
    """The push provider, likewise."""
    notify_attempts_max: int = Field(default=12, ge=1, le=100)
    """The number of attempts after which a notification has failed."""
    notify_retry_base: Duration = timedelta(seconds=2)
    """The pause after a first failed attempt is up to this long; it doubles with each one."""
    notify_retry_max: Duration = timedelta(minutes=10)
    """The longest pause between two attempts."""
    notify_send_timeout: Timeout = timedelta(seconds=15)
    """How long one attempt may take; once a mail server has the mail, it has ten minutes to answer, so that it gets it once."""
    notify_concurrency: int = Field(default=16, ge=1, le=200)
    """Messages under way at once, for each channel."""
    notify_poll: Poll = timedelta(milliseconds=500)
    """How often a channel looks for messages that are due; while none are, every 15 s or when it is notified of one."""
    notify_message_domain: Annotated[str, AfterValidator(_check_domain)] = "tallyhook.local"
    """The right side of every Message-ID."""

    @property
    def urls(self) -> dict[Channel, str]:
        """Return the channels that are configured, with their addresses."""
        all_urls: dict[Channel, str] = {"EMAIL": self.notify_email_url, "SMS": self.notify_sms_url, "PUSH": self.notify_push_url}
        return {channel: url for channel, url in all_urls.items() if url}
