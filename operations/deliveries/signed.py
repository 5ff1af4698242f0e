"""A refused delivery with its signatures, and the limit of the guesses at how they were made."""

import hmac
import time
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Final

import msgspec

from gateway.secrets.uses import LiveSecret, setting_of
from gateway.webhooks.signatures import timestamp_of
from gateway.webhooks.sources.partner import NAME as PARTNER
from operations.webhook_replay.store import StoredDelivery
from runtime.ids import time_of
from schemas.partners import key_of
from schemas.providers import provider_of, providers

ALWAYS_TIMED: Final = frozenset(provider.name for provider in providers() if provider.signature.timed)
_TIMED: Final = ALWAYS_TIMED | {PARTNER}
_BYTES_MAX: Final = 300_000_000
_BYTES_EACH: Final = 4000  # a signature of an empty body costs about as much
_SECONDS_MAX: Final = 3.0  # of processor time; a stranger chooses the body, and the gateway's requests wait meanwhile


class Signed:
    """
    The delivery with its signatures, and the secrets to try, those of its source first.

    At most `_BYTES_MAX` are hashed, within `_SECONDS_MAX` of the thread that makes it. `limit_reached` is true if one of them was
    not enough for every guess; `has_time` is true while most of both is left.
    """

    def __init__(self, refused: StoredDelivery, header: str, digests: Sequence[bytes], secrets: Iterable[LiveSecret]) -> None:
        self.refused = refused
        self.body = refused.body or b""
        self.timestamp = timestamp_of(header) if refused.source in _TIMED else None
        self.secrets = sorted(secrets, key=lambda live: not self.is_own(live))
        self.digests = digests
        self._bytes_left = _BYTES_MAX
        self._began = time.thread_time()

    def by(self, key: bytes, body: bytes, between: str = ".") -> bool:
        """True if this key and this body make one of its signatures; `between` separates the time from the body."""
        self._bytes_left -= len(body) + _BYTES_EACH
        if self.limit_reached:
            return False
        prefix = b"" if self.timestamp is None else f"{self.timestamp.text}{between}".encode()
        made = hmac.digest(key, prefix + body, "sha256")
        return any(hmac.compare_digest(made, digest) for digest in self.digests)

    def is_own(self, live: LiveSecret) -> bool:
        """True if the secret is of the source, the endpoint or the partner that sent the delivery."""
        if self.refused.source == PARTNER:
            return live.setting == f"PARTNER_{key_of(_partner_of(self.body) or '')}_SECRET"
        if self.refused.endpoint:
            return live.setting == setting_of(self.refused.place)
        provider = provider_of(self.refused.source)
        return provider is not None and live.setting == provider.secret_setting

    @property
    def limit_reached(self) -> bool:
        return self._bytes_left < 0 or self._seconds > _SECONDS_MAX

    @property
    def has_time(self) -> bool:
        return self._bytes_left > _BYTES_MAX * 0.8 and self._seconds < _SECONDS_MAX * 0.8

    @property
    def _seconds(self) -> float:
        return time.thread_time() - self._began

    @cached_property
    def own(self) -> list[LiveSecret]:
        return [live for live in self.secrets if self.is_own(live)]

    @property
    def delay(self) -> float:
        """The seconds between signing and arrival."""
        return 0.0 if self.timestamp is None else time_of(self.refused.id).timestamp() - self.timestamp.seconds

    @property
    def tried_forms(self) -> str:
        return (
            "in the forms that were tried: its body is too large for all of them" if self.limit_reached else "in any known form"
        )


class _Sender(msgspec.Struct, frozen=True, rename="camel"):
    partner_id: str


_sender: Final = msgspec.json.Decoder(_Sender)


def _partner_of(body: bytes) -> str | None:
    try:
        return _sender.decode(body).partner_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
