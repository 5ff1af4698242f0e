"""The causes of dead letters: who has to remove each, its meaning, and the page with the remedy."""

from typing import Final, Literal, NamedTuple

from schemas.leads import EXHAUSTED, REJECTED

Fault = Literal["ours", "theirs"]

_DEAD_LETTERS: Final = "runbooks/dead-letters.md"
_LEADS: Final = "runbooks/lead-delivery.md"
_FETCHES: Final = "runbooks/stripe-fetches.md"


class Cause(NamedTuple):
    """`ours` is removed by a deployment, a setting or a caller of ours; `theirs` by a provider or a partner."""

    fault: Fault
    means: str
    runbook: str = _DEAD_LETTERS


CAUSES: Final = {
    "handler_failed": Cause("ours", "a bug: the worker's code failed on this event"),
    "schema_unknown": Cause("ours", "the writer is newer than the worker, or foreign: this release has no such schema"),
    "schema_too_new": Cause("ours", "the writer is newer than the worker: deploy readers first"),
    "event_unexpected": Cause("ours", "an event of ours that this worker does not handle"),
    "event_mislabeled": Cause("ours", "the data is of another type than the event states"),
    "data_malformed": Cause("ours", "the data does not fit the schema that the event names"),
    "event_outside_retention": Cause("ours", "older than RETENTION_DAYS: the mark that shows whether it was handled is gone"),
    "value_missing": Cause("ours", "a foreign writer: a record without a value"),
    "envelope_incomplete": Cause("ours", "a foreign writer: headers of a CloudEvent are missing"),
    "envelope_malformed": Cause("ours", "a foreign writer: headers of a CloudEvent are invalid"),
    "event_id_unordered": Cause("ours", "a foreign writer: the event's id is not a UUIDv7"),
    "template_unknown": Cause("ours", "a notification command names no template"),
    "template_channel_unknown": Cause("ours", "a notification command names a channel that its template has no text for"),
    "data_missing": Cause("ours", "a notification command lacks data that its template needs"),
    "data_invalid": Cause("ours", "a notification command has data that its template cannot use"),
    "document_refused": Cause("ours", "Elasticsearch refuses the document: it does not fit the index's mapping"),
    "event_malformed": Cause("theirs", "the provider's event lacks what its type promises"),
    "text_unstorable": Cause("theirs", "a text from the provider contains a NUL, which Postgres cannot store"),
    "api_key_of_other_mode": Cause("ours", "STRIPE_API_KEY is of test mode and the event of live mode, or the reverse", _FETCHES),
    "stripe_key_refused": Cause("ours", "STRIPE_API_KEY may not read the object that a thin event names", _FETCHES),
    "fetch_failed": Cause("ours", "a bug: our code failed on the object that a thin event names", _FETCHES),
    "stripe_refuses": Cause("ours", "Stripe's API refuses the request for the object that a thin event names", _FETCHES),
    "object_not_found": Cause("ours", "Stripe's API knows no such object: the key may be of another account", _FETCHES),
    "stripe_called_too_often": Cause("theirs", "Stripe's API has limited the rate in all attempts", _FETCHES),
    "stripe_failed": Cause("theirs", "Stripe's API has failed in all attempts", _FETCHES),
    "stripe_slow": Cause("theirs", "Stripe's API has not answered in time in all attempts", _FETCHES),
    "stripe_unreachable": Cause("theirs", "there was no connection to Stripe's API in all attempts", _FETCHES),
    "answer_too_large": Cause("theirs", "the object that a thin event names is too large", _FETCHES),
    "answer_malformed": Cause("theirs", "the answer of Stripe's API is not an object", _FETCHES),
    "answer_mismatched": Cause("theirs", "Stripe's API answers with another object than the requested one", _FETCHES),
    "answer_too_early": Cause("theirs", "Stripe's clock is behind the thin event: a clock is wrong", _FETCHES),
    EXHAUSTED: Cause("theirs", "the partner's CRM has not accepted the lead in all attempts", _LEADS),
    REJECTED: Cause("theirs", "the partner's CRM refuses the lead for good", _LEADS),
}

THEIRS: Final = tuple(reason for reason, cause in CAUSES.items() if cause.fault == "theirs")

_UNDECLARED: Final = Cause("ours", "a reason that this release does not know")


def cause_of(reason: str) -> Cause:
    """The cause of a reason; an undeclared reason counts as ours, so that an operator looks at it."""
    return CAUSES.get(reason, _UNDECLARED)
