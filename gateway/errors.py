"""Every refusal of the gateway: one list of reasons, the same word in answer, log, metric, test and runbook."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Self

from runtime.errors import Failure


class Reason(StrEnum):
    """The stable word for an error, and the HTTP status of its answer; a word is never reused for another error."""

    _value_: str
    status: HTTPStatus

    def __new__(cls, word: str, status: int) -> Self:
        """Return the member: the word itself, with its status as an attribute."""
        reason = str.__new__(cls, word)
        reason._value_ = word
        reason.status = HTTPStatus(status)
        return reason

    # 400: the request cannot be understood
    REQUEST_MALFORMED = "request_malformed", 400  #: The request breaks the rules of HTTP.
    SIGNATURE_MALFORMED = "signature_malformed", 400  #: The signature header has another form than the documented one.
    BODY_NOT_UTF8 = "body_not_utf8", 400  #: The body is not UTF-8.
    BODY_NOT_JSON = "body_not_json", 400  #: The body is not JSON.
    EVENT_MALFORMED = "event_malformed", 400  #: The signed body lacks a field that every event has, or has one of another type.
    EVENT_UNSTORABLE = "event_unstorable", 400  #: A field of the event holds characters that Postgres cannot store.
    QUERY_MALFORMED = "query_malformed", 400  #: A parameter of the query is unknown or has an invalid value.
    # 401, 403: the caller is not known, or not allowed
    SIGNATURE_MISSING = "signature_missing", 401  #: The call has no signature.
    SIGNATURE_SCHEME_UNKNOWN = "signature_scheme_unknown", 401  #: The signature header holds no scheme that the gateway verifies.
    SIGNATURE_WRONG = "signature_wrong", 401  #: No live secret has signed this body.
    TIMESTAMP_TOO_OLD = "timestamp_too_old", 401  #: The signed time is more than 300 s in the past.
    TIMESTAMP_IN_FUTURE = "timestamp_in_future", 401  #: The signed time is more than 300 s in the future.
    TOKEN_MISSING = "token_missing", 401  #: The call has no token.
    TOKEN_WRONG = "token_wrong", 401  #: The token is not a live one.
    CERTIFICATE_NOT_ALLOWED = "certificate_not_allowed", 403  #: The client certificate is not on the list of allowed subjects.
    ADMIN_TOKEN_NEEDED = "admin_token_needed", 403  #: The operation needs an operator's token.
    TOKEN_READ_ONLY = "token_read_only", 403  #: The token is a reader's: it changes nothing, and sees no raw bodies.
    # other 4xx
    ENDPOINT_UNKNOWN = "endpoint_unknown", 404  #: The provider has no endpoint of this name.
    NOT_FOUND = "not_found", 404  #: No object has this id, or the path does not exist.
    METHOD_NOT_ALLOWED = "method_not_allowed", 405  #: The path does not support this method.
    BODY_TOO_SLOW = "body_too_slow", 408  #: The body did not arrive in time.
    BODY_TOO_LARGE = "body_too_large", 413  #: The body is larger than `MAX_BODY_BYTES`.
    CONTENT_TYPE_NOT_JSON = "content_type_not_json", 415  #: The content type is not `application/json`.
    EXPECT_HEADER_UNKNOWN = "expect_header_unknown", 417  #: The header `Expect` has another value than `100-continue`.
    EXPECTATION_SETTLED = "expectation_settled", 409  #: The payment was already compared with another expected amount.
    FIELD_INVALID = "field_invalid", 422
    """A field of the body or the id in the path is missing or has an invalid value; `fields` names it."""
    ADDRESS_INVALID = "address_invalid", 422  #: The address cannot be one of the channel.
    RATE_LIMITED = "rate_limited", 429  #: The caller exceeds its rate limit.
    CHANNEL_UNKNOWN = "channel_unknown", 422  #: No channel has this name.
    TEMPLATE_UNKNOWN = "template_unknown", 422  #: No template has this code.
    TEMPLATE_CHANNEL_UNKNOWN = "template_channel_unknown", 422  #: The template does not exist for this channel.
    DATA_MISSING = "data_missing", 422  #: A variable of the template is missing; `fields` names it.
    DATA_INVALID = "data_invalid", 422  #: A variable of the template has an invalid value; `fields` names it.
    CONFIG_KEY_UNKNOWN = "config_key_unknown", 422  #: The key begins like a reserved one, and no process reads it.
    CONFIG_VALUE_INVALID = "config_value_invalid", 422  #: The value is outside the bounds of the key.
    VERSION_STALE = "version_stale", 409  #: The key, the partner or the endpoint has another version than the expected one.
    PARTNER_IN_ENVIRONMENT = "partner_in_environment", 409  #: The partner is one of the settings, which the API does not change.
    PARTNER_ID_TAKEN = (
        "partner_id_taken",
        409,
    )  #: Another partner has this id with other characters between its letters and digits.
    CRM_URL_REFUSED = "crm_url_refused", 422  #: The address of the CRM is in a private network.
    SECRET_INVALID = "secret_invalid", 422  #: The secret has another form than its kind needs, or is a placeholder.
    SEAL_KEYS_MISSING = "seal_keys_missing", 409  #: `SECRET_KEYS` is not set, and no secret is stored unsealed.
    SEAL_UNREADABLE = "seal_unreadable", 409  #: The secrets are sealed under a key that `SECRET_KEYS` does not hold.
    DEAD_LETTER_SETTLED = "dead_letter_settled", 409  #: The dead letter was already retried or discarded.
    PERIOD_NOT_KEPT = "period_not_kept", 422  #: The whole period is older than the retention.
    IDEMPOTENCY_KEY_MALFORMED = "idempotency_key_malformed", 400
    """The idempotency key is not 1 to 255 printable ASCII characters."""
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused", 409  #: The idempotency key was used for another request.
    IDEMPOTENCY_IN_PROGRESS = "idempotency_in_progress", 409  #: A call with the same idempotency key is still running.
    PATTERN_TOO_BROAD = "pattern_too_broad", 422  #: The pattern begins with a wildcard, and `cache.allow_all` is not true.
    INDEX_UNKNOWN = "index_unknown", 422  #: No index has this name.
    FILTER_MISSING = "filter_missing", 422  #: The replay has no filter.
    FILTER_CONTRADICTORY = "filter_contradictory", 422  #: The filters exclude each other.
    REPLAY_TOO_LARGE = "replay_too_large", 422  #: The filters match more deliveries than one replay may have.
    REPLAY_ENDED = "replay_ended", 409  #: The replay has ended.
    # 5xx: the gateway fails, or what it depends on
    INTERNAL_ERROR = "internal_error", 500  #: The gateway failed; the log line of the trace has the details.
    POSTGRES_UNAVAILABLE = "postgres_unavailable", 503  #: Postgres does not answer.
    SCHEMA_MISSING = "schema_missing", 503  #: The database has no schema yet: `tallyhook migrate` creates it.
    SCHEMA_BEHIND = "schema_behind", 503  #: The database schema is older than this process.
    SCHEMA_AHEAD = "schema_ahead", 503  #: The database schema is too new for this process.
    KAFKA_UNAVAILABLE = "kafka_unavailable", 503  #: Kafka does not answer.
    PARTITION_MISSING = "partition_missing", 503  #: A daily partition of a table is missing; the relay creates it.
    CLOCK_SKEWED = "clock_skewed", 503  #: The clocks of this process and of Postgres differ too much.
    INTAKE_FULL = "intake_full", 503  #: Too many webhooks wait for their commit.
    GATEWAY_FULL = "gateway_full", 503  #: The gateway has too many connections or requests.
    STOPPING = "stopping", 503  #: The gateway was asked to stop.
    LOOP_HUNG = (
        "loop_hung",
        503,
    )  #: A background loop has made no round for a minute, or a process of the gateway does not answer.


class GatewayError(Failure[Reason]):
    """A refusal; `detail` is for people and may be shown to the caller, `fields` names the parts of the body at fault."""

    def __init__(self, reason: Reason, detail: str, fields: Sequence[str] = ()) -> None:
        super().__init__(reason, detail)
        self.detail = detail
        self.fields = fields

    @classmethod
    def of(cls, reason: StrEnum, detail: str, fields: Sequence[str] = ()) -> Self:
        """The refusal for a reason of another package; `Reason` has the same word."""
        return cls(Reason[reason.name], detail, fields)

    retry_after = 2
    """Seconds to wait, sent where a retry can help: Postgres is mostly back within a few, and providers choose their own pace."""

    @property
    def status(self) -> HTTPStatus:
        return self.reason.status


class CalledTooOften(GatewayError):
    """A refusal by the rate limit; the client may call again after `retry_after` seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(Reason.RATE_LIMITED, "this client calls too often")
        self.retry_after = retry_after


@contextmanager
def refusing(failure: type[Failure[Any]]) -> Iterator[None]:
    """Turn failures of another package into refusals with the same reason."""
    try:
        yield
    except failure as error:
        raise GatewayError.of(error.reason, str(error)) from error
