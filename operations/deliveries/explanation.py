"""
Finds the cause of a refusal and its remedy: each usual cause is tried on the stored delivery. Pure functions.

Only operators see an explanation; the answer to the sender of the delivery is always the same.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

import msgspec

from gateway.errors import Reason
from gateway.secrets.uses import LiveSecret
from gateway.webhooks.signatures import digests_of
from gateway.webhooks.sources.partner import NAME as PARTNER
from gateway.webhooks.sources.partner import SIGNATURE_HEADER as PARTNER_HEADER
from operations.deliveries.bodies import bodies_of
from operations.deliveries.keys import keys_of, likely_keys_of
from operations.deliveries.signed import ALWAYS_TIMED, Signed
from operations.webhook_replay.store import StoredDelivery
from outbox.append import OTHER_MODE
from runtime.settings import Secret
from schemas.endpoints import place_of
from schemas.foreign_json import Decoder
from schemas.providers import ModeOrAny, account_of, provider_of, providers

TOLERANCE: Final = timedelta(seconds=300)
_SIGNATURES: Final[dict[str, str]] = {
    **{provider.name: provider.signature.header for provider in providers()},
    PARTNER: PARTNER_HEADER,
}
_UNPROVEN: Final = ("signature_", "timestamp_")


class Explanation(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The cause of the refusal."""

    cause: str  #: The stable word for the cause.
    detail: str  #: The findings in words.
    advice: str  #: The change that removes the cause.
    secret_id: str | None = None  #: The public id of the secret that made the signature; absent if none of ours did.


class Circumstances(msgspec.Struct, frozen=True, kw_only=True):
    """
    The circumstances of the delivery.

    `skew` is the median of the seconds between signing and arrival, over the source's refused deliveries of the hour before.
    `recoverable` is true if the current settings would accept the delivery. `accepted` has the traits (mode and account) of the
    events that were accepted from the source recently. `mode` is the mode of the events that are wanted from the source.
    """

    secrets: Sequence[LiveSecret]
    recoverable: bool = False
    api_keys: Sequence[Secret] = ()
    skew: float | None = None
    accepted: frozenset["Traits"] = frozenset()
    mode: ModeOrAny = "any"


class Traits(NamedTuple):
    """The traits in an event's body that distinguish the endpoints of one provider."""

    live: bool | None = None
    account: str | None = None


def explain(refused: StoredDelivery, known: Circumstances) -> Explanation:
    """
    Return the first cause that explains the refusal; frequent causes are tried first.

    It takes some seconds of processor time at most, whatever the body is.
    """
    if refused.body is None:
        return _because("body_not_kept", f"it was refused as {refused.reason} before its body was read")
    if refused.reason == Reason.ENDPOINT_UNKNOWN:
        return _because(refused.reason, f"when it arrived, there was no endpoint {refused.place}")
    if not refused.reason.startswith(_UNPROVEN):
        return _because(refused.reason, "it was refused for another reason than its signature")
    return _of_signature(refused, known, header_of(refused.source, refused.headers))


def _of_signature(refused: StoredDelivery, known: Circumstances, header: str) -> Explanation:
    if not header.strip():
        return _because("signature_missing", f"it came without {_SIGNATURES.get(refused.source, 'a signature')}")
    digests = digests_of(header)
    if not digests:
        return _because("signature_malformed", "its header holds no SHA-256 digest, neither in hex nor in base64")
    signed = Signed(refused, header, digests, known.secrets)
    for guess in (_by_secret, _by_key, _by_time, _by_body):
        if (found := guess(signed, known)) is not None:
            return found
    if signed.timestamp is None and refused.source in ALWAYS_TIMED:
        return _because("signature_malformed", "its header states no time of signing, such as t=1795763000")
    return _by_traits(signed, known)


def not_rejected(
    source: str,
    outcome: str,
    reason: str | None,
    livemode: bool | None,  # noqa: FBT001  # columns of a row
    endpoint: str | None = None,
) -> Explanation:
    """Explain a delivery that was not rejected; if it was ignored for its mode, that is the cause."""
    if reason == OTHER_MODE:
        mode = "live" if livemode else "test"
        setting = f"the mode of the endpoint {place_of(source, endpoint)}" if endpoint else _mode_setting(source)
        detail = f"it was stored and ignored: it is a {mode} event, and {setting} named the other mode"
        restart = "" if endpoint else ", restart the gateways"
        advice = f"Nothing needs to be done, unless the event is wanted: then change {setting}{restart} and run "
        advice += f"`tallyhook replay webhooks --source {source} --status ignored --dry-run`."
        return Explanation(cause=OTHER_MODE, detail=detail, advice=advice)
    detail = f"it was not refused: its outcome is {outcome}" + (f" ({reason})" if reason else "")
    return _because("not_rejected", detail)


def _mode_setting(source: str) -> str:
    provider = provider_of(source)
    return (provider and provider.mode_setting) or "the mode in its settings"


def header_of(source: str, headers: Mapping[str, str]) -> str:
    """Return the source's signature header as it was kept; empty if there was none."""
    name = _SIGNATURES.get(source, "").lower()
    return next((value for header, value in headers.items() if header.lower() == name), "")


def _by_secret(signed: Signed, known: Circumstances) -> Explanation | None:
    """Explain a signature that is right for exactly these bytes: something else was wrong."""
    for live in signed.secrets:
        if not signed.by(live.secret.value.encode(), signed.body):
            continue
        if not signed.is_own(live):
            detail = f"the secret {live.secret.id} of {live.setting} signed it{_second_cause(signed, known)}"
            return _because("secret_of_other_source", detail, live.secret)
        if signed.timestamp and signed.timestamp.in_milliseconds:
            return _because("timestamp_signed_otherwise", "its time of signing is in milliseconds, not in seconds", live.secret)
        if abs(signed.delay) > TOLERANCE.total_seconds():
            header = "" if signed.refused.reason.startswith("timestamp_") else f"; besides, {_REFORMATTED}"
            return _because("clock_skew", _lateness(signed, known) + header, live.secret)
        if known.recoverable and signed.refused.reason == Reason.SIGNATURE_WRONG:
            return _because(
                "secret_added_since", f"the secret {live.secret.id} signed it, and was not set yet when it arrived", live.secret
            )
        return _because("signature_reformatted", f"the signature is right, but {_REFORMATTED}", live.secret)
    return None


def _by_key(signed: Signed, known: Circumstances) -> Explanation | None:
    """Explain a signature by an API key, or by a secret of ours in another form."""
    for key in known.api_keys:
        keys = (key.value.encode(), *(variant.value for variant in keys_of(key.value)))
        if any(signed.by(each, signed.body) for each in keys):
            detail = f"the API key signed it, not the endpoint's signing secret{_second_cause(signed, known)}"
            return _because("api_key_as_secret", detail, key)
    for live in signed.secrets:
        for variant in keys_of(live.secret.value, live.setting):
            if signed.by(variant.value, signed.body):
                detail = f"signed with {variant.detail}: {live.secret.id} of {live.setting}{_second_cause(signed, known)}"
                return _because(variant.cause, detail, live.secret)
    return None


def _by_time(signed: Signed, known: Circumstances) -> Explanation | None:
    """Explain a signature by a secret of ours that covers the time in another form, or not at all."""
    if signed.timestamp is None:
        return None
    untimed = Signed(signed.refused, "", signed.digests, ())
    for live in signed.secrets:
        key = live.secret.value.encode()
        if untimed.by(key, signed.body) or any(signed.by(key, signed.body, between) for between in ("", ":", "\n", ",", " ")):
            detail = f"the secret {live.secret.id} of {live.setting} signed it, but not the time and the body as `<t>.<body>`"
            return _because("timestamp_signed_otherwise", detail + _second_cause(signed, known), live.secret)
    return None


def _by_body(signed: Signed, known: Circumstances) -> Explanation | None:
    """Explain a signature of other bytes by a secret of ours; finally, by the source's secrets in other forms as well."""
    mistaken = [(live, key) for live in signed.own for key in likely_keys_of(live.secret.value)]
    for variant in bodies_of(signed.body, lambda: signed.limit_reached):
        for live in signed.secrets if signed.has_time else signed.own:
            if signed.by(live.secret.value.encode(), variant.value):
                detail = f"the secret {live.secret.id} of {live.setting} signed other bytes: {variant.detail}"
                return _because(variant.cause, detail + _second_cause(signed, known), live.secret)
        for live, key in mistaken if signed.has_time else ():
            if signed.by(key.value, variant.value):
                detail = f"two faults: {variant.detail}; and it was signed with {key.detail}, {live.secret.id} of {live.setting}"
                return _because(variant.cause, detail + _second_cause(signed, known), live.secret)
    return None


def _by_traits(signed: Signed, known: Circumstances) -> Explanation:
    """Explain a delivery that no secret of ours signed, by its mode and account."""
    source = signed.refused.source
    if source == PARTNER:
        if not signed.own:
            return _because("partner_unknown", "no secret is configured for the partner that the body names")
        return _because("unknown", f"no secret of ours signed it, {signed.tried_forms}")
    traits = traits_of(signed.body)
    if traits is None:
        return _because("unknown", f"no secret of ours signed it, and its body is not an event of {source}")
    words = _words_of(traits)
    if traits.live is not None and known.mode != "any" and traits.live != (known.mode == "live"):
        return _because(
            "mode_or_endpoint", f"no secret of ours signed it; it is {words}, and this system accepts {known.mode} events"
        )
    if traits in known.accepted:
        return _because("unknown", f"no secret of ours signed it, though others like it ({words}) were accepted recently")
    return _because("mode_or_endpoint", f"no secret of ours signed it; it is {words}, and none like it was accepted recently")


def traits_of(body: bytes) -> Traits | None:
    """Return the mode and the account of an event's body, or None if it is not an event."""
    try:
        event = _event.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if event.type is None and event.event is None:
        return None
    return Traits(event.livemode, account_of(event.account or event.account_id, event.context))


class _Event(msgspec.Struct, frozen=True):
    type: str | None = None
    event: str | None = None
    livemode: bool | None = None
    account: str | None = None
    account_id: str | None = None
    context: str | None = None


_event: Final = Decoder(_Event)


def _second_cause(signed: Signed, known: Circumstances) -> str:
    """A second cause: the delivery would have been refused for its time as well."""
    return f"; besides, {_lateness(signed, known)}" if abs(signed.delay) > TOLERANCE.total_seconds() else ""


def _lateness(signed: Signed, known: Circumstances) -> str:
    side = "after" if signed.delay > 0 else "before"
    text = f"it arrived {abs(signed.delay):.0f} s {side} it was signed, and 300 s are allowed"
    if known.skew is None:
        return text
    return f"{text}; the median of the source's refused deliveries of the hour is {known.skew:.0f} s"


def _words_of(traits: Traits) -> str:
    mode = {True: "a live event", False: "a test event", None: "an event"}[traits.live]
    return f"{mode} of the account {traits.account}" if traits.account else mode


_REFORMATTED: Final = "its header was changed on the way"
_RECOVER: Final = (
    "Then run `tallyhook replay webhooks --status rejected --dry-run`: deliveries with a kept body can be recovered."
)
_ADVICE: Final[Mapping[str, str]] = {
    "body_not_kept": "Without a body there is nothing to try; the reason names what the sender must change.",
    "signature_missing": "Check that the call comes from the provider, and that no proxy removes its signature header.",
    "signature_malformed": "Check that no proxy cuts or rewrites the signature header.",
    "signature_reformatted": "Let every proxy forward the signature header unchanged: once, not split, joined or re-cased.",
    "secret_of_other_source": "The secrets of two sources or endpoints are exchanged: set each where it belongs. " + _RECOVER,
    "secret_added_since": "The settings are right now. " + _RECOVER,
    "secret_with_whitespace": "Copy the secret again, on both sides, without spaces, quotes or a line end. " + _RECOVER,
    "secret_without_prefix": "Use the whole secret on both sides, with its prefix. " + _RECOVER,
    "secret_taken_for_hex": "The sender must use the text of the secret as its key, neither decoded from hex nor encoded as hex.",
    "timestamp_signed_otherwise": "The sender must state the time as t=<Unix seconds> and sign the text <t>.<raw body>.",
    "secret_taken_for_base64": "The sender must use the text of the secret as its key, neither decoded nor encoded as base64.",
    "api_key_as_secret": "Configure the endpoint's own signing secret instead of the API key. " + _RECOVER,
    "body_trimmed": "Let every proxy forward the body byte for byte: something adds or removes white space.",
    "body_reencoded": "Let every proxy forward the body byte for byte: something parses and rewrites it, or recodes it.",
    "clock_skew": "Run a time service (chrony, systemd-timesyncd) on this machine, and check that no queue delays deliveries.",
    "mode_or_endpoint": "Add the signing secret of the endpoint, account and mode that sends it. " + _RECOVER,
    "endpoint_unknown": "Add the endpoint by `tallyhook endpoints put`, or correct the address in the provider's dashboard. "
    + _RECOVER,
    "not_rejected": "Nothing needs to be done.",
    "partner_unknown": "Configure PARTNER_{ID}_SECRET for this partner, or check that the body names the right one.",
    "unknown": "Compare the signing secret that the provider shows for its endpoint with the setting. " + _RECOVER,
}


def _because(cause: str, detail: str, secret: Secret | None = None) -> Explanation:
    advice = _ADVICE.get(cause, f"The reason {cause} names what the sender must change; see the runbooks.")
    return Explanation(cause=cause, detail=detail, advice=advice, secret_id=secret.id if secret else None)
