"""
The cause of a refusal and its remedy: each usual cause is tried against the stored delivery. Pure functions.

Only operators see an explanation; whoever sent the delivery gets the same answer as ever.
"""

import hmac
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

import msgspec

from gateway.errors import Reason
from gateway.secrets.witness import Live
from gateway.webhooks.sources.partner import NAME as PARTNER
from gateway.webhooks.sources.partner import SIGNATURE_HEADER as PARTNER_HEADER
from gateway.webhooks.variants import bodies_of, digests_of, keys_of, timestamp_of
from operations.webhook_replay.store import Kept
from outbox.received import OTHER_MODE
from runtime.ids import time_of
from runtime.settings import Secret
from schemas.foreign_json import Decoder
from schemas.partners import key_of
from schemas.providers import ModeOrAny, account_of, provider_of, providers

TOLERANCE: Final = timedelta(seconds=300)
_SIGNATURES: Final[dict[str, str]] = {
    **{provider.name: provider.signature.header for provider in providers()},
    PARTNER: PARTNER_HEADER,
}
_TIMED: Final = frozenset({PARTNER, *(provider.name for provider in providers() if provider.signature.timed)})
_UNPROVEN: Final = ("signature_", "timestamp_")


class Explanation(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The cause of the refusal."""

    cause: str  #: The stable word for the cause.
    detail: str  #: The findings in words.
    advice: str  #: The change that removes the cause.
    secret_id: str | None = None  #: The public id of the secret that made the signature; absent if none of ours did.


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """
    The circumstances of the delivery.

    `skew` is the median, in seconds, of how much later than they were signed the source's refused deliveries of the hour arrived.
    `recoverable` says whether the settings of now would accept it. `accepted` are the marks (mode and account) of the events that
    were accepted from the source lately. `mode` says which events of the source are wanted.
    """

    secrets: Sequence[Live]
    recoverable: bool = False
    api_keys: Sequence[Secret] = ()
    skew: float | None = None
    accepted: frozenset["Marks"] = frozenset()
    mode: ModeOrAny = "any"


class Marks(NamedTuple):
    """The marks in an event's body that distinguish the endpoints of one provider."""

    live: bool | None = None
    account: str | None = None


def explain(refused: Kept, known: Surroundings) -> Explanation:
    """
    The first cause, from the plain to the far-fetched, that accounts for the refusal.

    This takes up to a second of processor time for the largest bodies.
    """
    if refused.body is None:
        return _because("body_not_kept", f"it was refused as {refused.reason} before its body was read")
    if not refused.reason.startswith(_UNPROVEN):
        return _because(refused.reason, "its signature was not the reason")
    header = header_of(refused.source, refused.headers)
    if not header.strip():
        return _because("signature_missing", f"it came without {_SIGNATURES.get(refused.source, 'a signature')}")
    digests = digests_of(header)
    if not digests:
        return _because("signature_malformed", "its header holds no SHA-256 digest, neither in hex nor in base64")
    signed = _Signed(refused, header, digests)
    return _by_secret(signed, known) or _by_key(signed, known) or _by_body(signed, known) or _by_marks(signed, known)


def not_rejected(source: str, outcome: str, reason: str | None, livemode: bool | None) -> Explanation:  # noqa: FBT001  # columns of a row
    """The explanation of a delivery that was taken; where it goes to no worker, the cause is why."""
    if reason == OTHER_MODE:
        mode = "live" if livemode else "test"
        setting = _mode_setting(source)
        detail = f"it was taken and ignored: it is a {mode} event, and {setting} named the other mode"
        advice = f"Nothing is to be done, unless it is wanted: then change {setting}, restart the gateways and run "
        advice += f"`tallyhook replay webhooks --source {source} --status ignored --dry-run`."
        return Explanation(cause=OTHER_MODE, detail=detail, advice=advice)
    detail = f"it was not refused: its outcome is {outcome}" + (f" ({reason})" if reason else "")
    return _because("not_rejected", detail)


def _mode_setting(source: str) -> str:
    provider = provider_of(source)
    return (provider and provider.mode_setting) or "the mode in its settings"


def header_of(source: str, headers: Mapping[str, str]) -> str:
    """The source's signature header, as it was kept; empty where there was none."""
    name = _SIGNATURES.get(source, "").lower()
    return next((value for header, value in headers.items() if header.lower() == name), "")


class _Signed:
    """The delivery with its signatures."""

    def __init__(self, refused: Kept, header: str, digests: Sequence[bytes]) -> None:
        self.refused = refused
        self.body = refused.body or b""
        self.timestamp = timestamp_of(header) if refused.source in _TIMED else None
        self._prefix = b"" if self.timestamp is None else f"{self.timestamp}.".encode()
        self._digests = digests

    def by(self, key: bytes, body: bytes) -> bool:
        """True if this key and this body make one of its signatures."""
        made = hmac.digest(key, self._prefix + body, "sha256")
        return any(hmac.compare_digest(made, digest) for digest in self._digests)

    def is_own(self, live: Live) -> bool:
        """True if the secret is of the source, or of the partner, that sent the delivery."""
        if self.refused.source == PARTNER:
            return live.setting == f"PARTNER_{key_of(_partner_of(self.body) or '')}_SECRET"
        provider = provider_of(self.refused.source)
        return provider is not None and live.setting == provider.secret_setting

    @property
    def late(self) -> float:
        """The seconds from the signing to the arrival."""
        return 0.0 if self.timestamp is None else time_of(self.refused.id).timestamp() - self.timestamp


def _by_secret(signed: _Signed, known: Surroundings) -> Explanation | None:
    """The signature is right for these very bytes: so something beside it was wrong."""
    for live in _own_first(signed, known.secrets):
        if not signed.by(live.secret.value.encode(), signed.body):
            continue
        if not signed.is_own(live):
            return _because("secret_of_other_source", f"the secret {live.secret.id} of {live.setting} signed it", live.secret)
        if abs(signed.late) > TOLERANCE.total_seconds():
            return _because("clock_skew", _lateness(signed, known), live.secret)
        if known.recoverable and signed.refused.reason == Reason.SIGNATURE_WRONG:
            return _because(
                "secret_added_since", f"the secret {live.secret.id} signed it, and was not set yet when it came", live.secret
            )
        return _because(
            "signature_reformatted", "the signature is right, but its header was not as the sender writes it", live.secret
        )
    for key in known.api_keys:
        if signed.by(key.value.encode(), signed.body):
            return _because("api_key_as_secret", "the API key signed it, not the endpoint's signing secret", key)
    return None


def _by_key(signed: _Signed, known: Surroundings) -> Explanation | None:
    """A secret of ours signed it, but written otherwise."""
    for live in _own_first(signed, known.secrets):
        for variant in keys_of(live.secret.value):
            if signed.by(variant.value, signed.body):
                return _because(variant.cause, f"signed with {variant.detail}: {live.secret.id} of {live.setting}", live.secret)
    return None


def _by_body(signed: _Signed, known: Surroundings) -> Explanation | None:
    """A secret of ours signed it, but other bytes."""
    secrets = _own_first(signed, known.secrets)
    for variant in bodies_of(signed.body):
        for live in secrets:
            if signed.by(live.secret.value.encode(), variant.value):
                detail = f"the secret {live.secret.id} of {live.setting} signed other bytes: {variant.detail}"
                return _because(variant.cause, detail, live.secret)
    return None


def _by_marks(signed: _Signed, known: Surroundings) -> Explanation:
    """The explanation where no secret of ours signed it: the marks of endpoints lead further."""
    source = signed.refused.source
    if source == PARTNER:
        if not any(signed.is_own(live) for live in known.secrets):
            return _because("partner_unknown", "no secret is configured for the partner that the body names")
        return _because("unknown", "no secret of ours signed it, in any known form")
    marks = marks_of(signed.body)
    if marks is None:
        return _because("unknown", f"no secret of ours signed it, and its body is no event of {source}")
    words = _words_of(marks)
    if marks.live is not None and known.mode != "any" and marks.live != (known.mode == "live"):
        return _because(
            "mode_or_endpoint", f"no secret of ours signed it; it is {words}, and this system is for {known.mode} events"
        )
    if marks in known.accepted:
        return _because("unknown", f"no secret of ours signed it, though others like it ({words}) were accepted lately")
    return _because("mode_or_endpoint", f"no secret of ours signed it; it is {words}, and none like it was accepted lately")


def marks_of(body: bytes) -> Marks | None:
    """The mode and the account of an event's body, or None where it is no event."""
    try:
        event = _event.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if event.type is None and event.event is None:
        return None
    return Marks(event.livemode, account_of(event.account or event.account_id, event.context))


class _Event(msgspec.Struct, frozen=True):
    type: str | None = None
    event: str | None = None
    livemode: bool | None = None
    account: str | None = None
    account_id: str | None = None
    context: str | None = None


class _Sender(msgspec.Struct, frozen=True, rename="camel"):
    partner_id: str


_event: Final = Decoder(_Event)
_sender: Final = msgspec.json.Decoder(_Sender)


def _partner_of(body: bytes) -> str | None:
    try:
        return _sender.decode(body).partner_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _own_first(signed: _Signed, secrets: Iterable[Live]) -> list[Live]:
    return sorted(secrets, key=lambda live: not signed.is_own(live))


def _lateness(signed: _Signed, known: Surroundings) -> str:
    side = "after" if signed.late > 0 else "before"
    text = f"it arrived {abs(signed.late):.0f} s {side} it was signed, and 300 s are allowed"
    return (
        text if known.skew is None else f"{text}; the median of the source's refused deliveries of the hour is {known.skew:.0f} s"
    )


def _words_of(marks: Marks) -> str:
    mode = {True: "a live event", False: "a test event", None: "an event"}[marks.live]
    return f"{mode} of the account {marks.account}" if marks.account else mode


_RECOVER: Final = "Then run `tallyhook replay webhooks --status rejected --dry-run`: what was kept can be recovered."
_ADVICE: Final[Mapping[str, str]] = {
    "body_not_kept": "Without a body nothing can be tried; the reason names what the sender must change.",
    "signature_missing": "See that the call comes from the provider, and that no proxy removes its signature header.",
    "signature_malformed": "See that no proxy cuts or rewrites the signature header.",
    "signature_reformatted": "Have every proxy pass the signature header on as it came: once, not split, joined or re-cased.",
    "secret_of_other_source": "The secrets of two sources are exchanged: put each under its own setting. " + _RECOVER,
    "secret_added_since": "The settings are right by now. " + _RECOVER,
    "secret_with_whitespace": "Copy the secret again, on both sides, without spaces, quotes or a line end. " + _RECOVER,
    "secret_without_prefix": "Use the whole secret on both sides, with its prefix. " + _RECOVER,
    "secret_taken_for_base64": "The sender must use the text of the secret as its key, neither decoded nor encoded as base64.",
    "api_key_as_secret": "Configure the endpoint's own signing secret instead of the API key. " + _RECOVER,
    "body_trimmed": "Have every proxy pass the body on byte for byte: something adds or removes white space.",
    "body_reencoded": "Have every proxy pass the body on byte for byte: something parses and rewrites it, or recodes it.",
    "clock_skew": "Run a time service (chrony, systemd-timesyncd) on this machine and see that no queue holds deliveries back.",
    "mode_or_endpoint": "Add the signing secret of the endpoint, account and mode that sends it. " + _RECOVER,
    "not_rejected": "Nothing is to be done.",
    "partner_unknown": "Configure PARTNER_{ID}_SECRET for this partner, or see whether the body names the right one.",
    "unknown": "Compare the signing secret that the provider shows for its endpoint with the setting. " + _RECOVER,
}


def _because(cause: str, detail: str, secret: Secret | None = None) -> Explanation:
    advice = _ADVICE.get(cause, f"The reason {cause} names what the sender must change; see the runbooks.")
    return Explanation(cause=cause, detail=detail, advice=advice, secret_id=secret.id if secret else None)
