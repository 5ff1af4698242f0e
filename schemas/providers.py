"""
The payment providers, one record each: where two providers differ, the difference is a field here or code in a file of its name.

`ProviderName` registers a provider, and everything else derives from it. The provider's own files are found by that name:
`schemas/<name>.py` holds the record as `PROVIDER`, `gateway/webhooks/sources/<name>.py` verifies and translates its webhooks
(`source(settings)`), and `streams/payments/<name>.py` interprets its events (`facts_of(type, data)`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args

import msgspec

from schemas import text
from schemas.envelope import EARLIEST, LATEST

ProviderName = Literal["stripe", "razorpay"]
"""The registration of every provider, in the order in which documents list them."""

NAMES: Final[tuple[ProviderName, ...]] = get_args(ProviderName)
SOURCES: Final = (*NAMES, "partner")
"""The sources of webhooks, as the delivery log names them."""


class Signature(NamedTuple):
    """
    A provider's proof of who sent a delivery.

    Where it is `timed`, the header states `t=<Unix seconds>` and the signature covers `<t>.<raw body>`; otherwise it covers the
    raw body alone.
    """

    header: str
    description: str
    timed: bool


class WebhookSecret(NamedTuple):
    """
    The setting of a provider's signing secrets.

    `expected` completes "… is expected" in messages about a wrong value. `prefix` is the beginning that the provider's secrets
    have in common, if any. `overlap` is how long an old secret must stay beside a new one. `steps` are for the operator who
    rotates them; `{first}` and `{last}` are the steps that all settings share.
    """

    expected: str
    overlap: timedelta
    steps: tuple[str, ...]
    prefix: str = ""
    required: bool = False


class Credential(NamedTuple):
    """A credential that is often confused with another: the form by which it is recognized, and its name in messages."""

    kind: str
    pattern: re.Pattern[str]
    text: str


class Message(NamedTuple):
    """A kind of event on the provider's topic: its published name, the record that reads it, and types as examples."""

    name: str
    record: type[msgspec.Struct]
    dataschema: str
    types: Sequence[str]


class Provider(NamedTuple):
    """
    One payment provider.

    Events of the `handled_types` go to the worker `settled_by`; others are stored and can be replayed once they are handled.
    `messages` are the kinds of its events, the most usual one first. `gives_up` is how long it retries a delivery without a 2xx.
    `id_prefixes` mark ids that may be logged in part. `minor_digits` are the currencies that it does not count as ISO 4217 does.
    `mode_setting` selects live or test events, if its events state their mode. A provider that `has_api` has an API from which
    the payments worker fetches objects; the answers are appended to the provider's topic.
    """

    name: ProviderName
    title: str
    type_prefix: str
    handled_types: frozenset[str]
    messages: tuple[Message, ...]
    examples: tuple[msgspec.Struct, ...]
    description: str
    signature: Signature
    secret: WebhookSecret
    gives_up: timedelta
    id_prefixes: tuple[str, ...]
    account_prefix: str
    event_id_header: str | None = None
    credentials: tuple[Credential, ...] = ()
    minor_digits: Mapping[str, int] = MappingProxyType({})
    mode_setting: str | None = None
    settled_by: str = "payments"
    has_api: bool = False

    @property
    def secret_setting(self) -> str:
        """The variable that holds the signing secrets, comma-separated."""
        return f"{self.name.upper()}_WEBHOOK_SECRET"

    @property
    def path(self) -> str:
        """The path of its webhooks."""
        return f"/v1/webhooks/{self.name}"

    @property
    def headers(self) -> tuple[str, ...]:
        """The headers by which a delivery is verified and translated."""
        return (self.signature.header, *((self.event_id_header,) if self.event_id_header else ()))

    def part(self, package: str, name: str) -> Any:
        """The object of that name in the provider's file within a package."""
        return getattr(import_module(f"{package}.{self.name}"), name)


@cache
def providers() -> tuple[Provider, ...]:
    """Every registered provider."""
    return tuple(import_module(f"schemas.{name}").PROVIDER for name in NAMES)


def provider_of(source: str) -> Provider | None:
    """The provider whose webhooks come from this source; None for another source, such as a partner."""
    return next((provider for provider in providers() if provider.name == source), None)


def either(words: Iterable[str]) -> str:
    """The words as alternatives in a sentence: `a, b or c`."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


Word = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
"""An id or a type; a longer one might be refused by an index of Postgres."""
# The microseconds are taken off first: at that size a float would round them up to a second more.
Seconds = Annotated[int, msgspec.Meta(ge=int(EARLIEST.timestamp()), le=int(LATEST.replace(microsecond=0).timestamp()))]
"""Unix seconds, as far as an event can carry its time."""
Mode = Literal["live", "test"]
"""`live` where real money moves."""
ModeOrAny = Literal["live", "test", "any"]
"""The mode of the events that are wanted."""


class Aggregate(NamedTuple):
    """The object whose events keep their order: events of one aggregate reach one partition."""

    type: str
    id: str


def account_of(account: str | None, context: str | None) -> str | None:
    """
    The account that an event belongs to: the connected account that it names, else the last one of its context; None for our own.

    An event of an organization's endpoint names its account only by the `context`, and so does a thin event
    (https://docs.stripe.com/changelog/basil/2025-04-30/additional-context-organization-events). The context is a path from us to
    the account, such as `acct_platform/acct_connected` (https://docs.stripe.com/context). Text that cannot be an id counts as
    none.
    """
    named = (account, (context or "").rpartition("/")[2])
    return next((each for each in named if each and text.accepts(text.Word, each)), None)
