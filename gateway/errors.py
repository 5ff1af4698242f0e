"""Every refusal of the gateway: one list of reasons, the same word in answer, log, metric, test and runbook."""

from collections.abc import Sequence
from enum import StrEnum
from http import HTTPStatus
from typing import Final

from runtime.errors import Failure


class Reason(StrEnum):
    """The stable word for an error; a word is never reused for another error."""

    # 400: the request cannot be understood
    REQUEST_MALFORMED = "request_malformed"  #: The request breaks the rules of HTTP.
    SIGNATURE_MALFORMED = "signature_malformed"  #: The signature header has another form than the documented one.
    BODY_NOT_UTF8 = "body_not_utf8"  #: The body is not UTF-8.
    BODY_NOT_JSON = "body_not_json"  #: The body is not JSON.
    EVENT_MALFORMED = "event_malformed"  #: The signed body lacks a field that every event has, or has one of another type.
    EVENT_UNSTORABLE = "event_unstorable"  #: A field of the event holds characters that Postgres cannot store.
    QUERY_MALFORMED = "query_malformed"  #: A parameter of the query is unknown or has an invalid value.
    # 401, 403: it is not who it should be
    SIGNATURE_MISSING = "signature_missing"  #: The call has no signature.
    SIGNATURE_SCHEME_UNKNOWN = "signature_scheme_unknown"  #: The signature header holds no scheme that the gateway verifies.
    SIGNATURE_WRONG = "signature_wrong"  #: No live secret has signed this body.
    TIMESTAMP_TOO_OLD = "timestamp_too_old"  #: The signed time is more than 300 s in the past.
    TIMESTAMP_IN_FUTURE = "timestamp_in_future"  #: The signed time is more than 300 s in the future.
    TOKEN_MISSING = "token_missing"  #: The call has no token.  # noqa: S105  # a word for a refusal, not a secret
    TOKEN_WRONG = "token_wrong"  #: The token is not a live one.  # noqa: S105  # same
    CERTIFICATE_NOT_ALLOWED = "certificate_not_allowed"  #: The client certificate is not on the list of allowed subjects.
    ADMIN_TOKEN_NEEDED = "admin_token_needed"  #: The operation needs an operator's token.  # noqa: S105  # same
    # other 4xx
    NOT_FOUND = "not_found"  #: No object has this id, or the path does not exist.
    METHOD_NOT_ALLOWED = "method_not_allowed"  #: The path does not support this method.
    BODY_TOO_SLOW = "body_too_slow"  #: The body did not arrive in time.
    BODY_TOO_LARGE = "body_too_large"  #: The body is larger than `MAX_BODY_BYTES`.
    CONTENT_TYPE_NOT_JSON = "content_type_not_json"  #: The content type is not `application/json`.
    EXPECT_HEADER_UNKNOWN = "expect_header_unknown"  #: The header `Expect` has another value than `100-continue`.
    EXPECTATION_SETTLED = "expectation_settled"  #: The payment was already compared with another expected amount.
    FIELD_INVALID = "field_invalid"
    """A field of the body or the id in the path is missing or has an invalid value; `fields` names it."""
    ADDRESS_INVALID = "address_invalid"  #: The address cannot be one of the channel.
    RATE_LIMITED = "rate_limited"  #: The caller exceeds its rate limit.
    CHANNEL_UNKNOWN = "channel_unknown"  #: No channel has this name.
    TEMPLATE_UNKNOWN = "template_unknown"  #: No template has this code.
    TEMPLATE_CHANNEL_UNKNOWN = "template_channel_unknown"  #: The template does not exist for this channel.
    DATA_MISSING = "data_missing"  #: A variable of the template is missing; `fields` names it.
    DATA_INVALID = "data_invalid"  #: A variable of the template has an invalid value; `fields` names it.
    CONFIG_KEY_UNKNOWN = "config_key_unknown"  #: The key begins like a reserved one, and no process reads it.
    CONFIG_VALUE_INVALID = "config_value_invalid"  #: The value is outside the bounds of the key.
    VERSION_STALE = "version_stale"  #: The key has another version than the expected one.
    DEAD_LETTER_SETTLED = "dead_letter_settled"  #: The dead letter was already retried or discarded.
    PERIOD_NOT_KEPT = "period_not_kept"  #: The whole period is older than the retention.
    IDEMPOTENCY_KEY_MALFORMED = "idempotency_key_malformed"  #: The idempotency key is not 1 to 255 printable ASCII characters.
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"  #: The idempotency key was used for another request.
    IDEMPOTENCY_IN_PROGRESS = "idempotency_in_progress"  #: A call with the same idempotency key is still running.
    PATTERN_TOO_BROAD = "pattern_too_broad"  #: The pattern begins with a wildcard, and `cache.allow_all` is not true.
    INDEX_UNKNOWN = "index_unknown"  #: No index has this name.
    FILTER_MISSING = "filter_missing"  #: The replay has no filter.
    FILTER_CONTRADICTORY = "filter_contradictory"  #: The filters exclude each other.
    REPLAY_TOO_LARGE = "replay_too_large"  #: The filters match more deliveries than one replay may have.
    REPLAY_ENDED = "replay_ended"  #: The replay has ended.
    # 5xx: it is us
    INTERNAL_ERROR = "internal_error"  #: The gateway failed; the log line of the trace has the details.
    POSTGRES_UNAVAILABLE = "postgres_unavailable"  #: Postgres does not answer.
    SCHEMA_MISSING = "schema_missing"  #: The database has no schema yet: `tallyhook migrate` creates it.
    SCHEMA_BEHIND = "schema_behind"  #: The database schema is older than this process.
    SCHEMA_AHEAD = "schema_ahead"  #: The database schema is too new for this process.
    KAFKA_UNAVAILABLE = "kafka_unavailable"  #: Kafka does not answer.
    PARTITION_MISSING = "partition_missing"  #: A daily partition of a table is missing; the relay creates it.
    CLOCK_SKEWED = "clock_skewed"  #: The clocks of this process and of Postgres differ too much.
    INTAKE_FULL = "intake_full"  #: Too many webhooks wait for their commit.
    GATEWAY_FULL = "gateway_full"  #: The gateway has too many connections or requests.
    STOPPING = "stopping"  #: The gateway was asked to stop.
    LOOP_HUNG = "loop_hung"  #: A background loop has made no round for a minute.


STATUS: Final[dict[Reason, HTTPStatus]] = {
    Reason.REQUEST_MALFORMED: HTTPStatus.BAD_REQUEST,
    Reason.SIGNATURE_MALFORMED: HTTPStatus.BAD_REQUEST,
    Reason.BODY_NOT_UTF8: HTTPStatus.BAD_REQUEST,
    Reason.BODY_NOT_JSON: HTTPStatus.BAD_REQUEST,
    Reason.EVENT_MALFORMED: HTTPStatus.BAD_REQUEST,
    Reason.EVENT_UNSTORABLE: HTTPStatus.BAD_REQUEST,
    Reason.QUERY_MALFORMED: HTTPStatus.BAD_REQUEST,
    Reason.SIGNATURE_MISSING: HTTPStatus.UNAUTHORIZED,
    Reason.SIGNATURE_SCHEME_UNKNOWN: HTTPStatus.UNAUTHORIZED,
    Reason.SIGNATURE_WRONG: HTTPStatus.UNAUTHORIZED,
    Reason.TIMESTAMP_TOO_OLD: HTTPStatus.UNAUTHORIZED,
    Reason.TIMESTAMP_IN_FUTURE: HTTPStatus.UNAUTHORIZED,
    Reason.TOKEN_MISSING: HTTPStatus.UNAUTHORIZED,
    Reason.TOKEN_WRONG: HTTPStatus.UNAUTHORIZED,
    Reason.CERTIFICATE_NOT_ALLOWED: HTTPStatus.FORBIDDEN,
    Reason.ADMIN_TOKEN_NEEDED: HTTPStatus.FORBIDDEN,
    Reason.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Reason.METHOD_NOT_ALLOWED: HTTPStatus.METHOD_NOT_ALLOWED,
    Reason.BODY_TOO_SLOW: HTTPStatus.REQUEST_TIMEOUT,
    Reason.BODY_TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Reason.CONTENT_TYPE_NOT_JSON: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    Reason.EXPECT_HEADER_UNKNOWN: HTTPStatus.EXPECTATION_FAILED,
    Reason.EXPECTATION_SETTLED: HTTPStatus.CONFLICT,
    Reason.FIELD_INVALID: HTTPStatus.UNPROCESSABLE_ENTITY,
    Reason.ADDRESS_INVALID: HTTPStatus.UNPROCESSABLE_ENTITY,
    Reason.RATE_LIMITED: HTTPStatus.TOO_MANY_REQUESTS,
    Reason.CHANNEL_UNKNOWN: HTTPStatus.UNPROCESSABLE_ENTITY,
    Reason.TEMPLATE_UNKNOWN: HTTPStatus.UNPROCESSABLE_ENTITY,
    Reason.TEMPLATE_CHANNEL_UNKNOWN: HTTPStatus.UNPROCESSABLE_ENTITY,
    Reason.DATA_MISSING: HTTPStatus.UNPROCESSABLE_ENTITY,
    Reason.DATA_INVALID: HTTPStatus.UNPROCESSABLE_ENTITY,
    Reason.IDEMPOTENCY_KEY_REUSED: HTTPStatus.CONFLICT,
    Reason.PATTERN_TOO_BROAD: HTTPStatus.UNPROCESSABLE_ENTITY,
    Reason.INDEX_UNKNOWN: HTTPStatus.UNPROCESSABLE_ENTITY,
    Reason.FILTER_MISSING: HTTPStatus.UNPROCESSABLE_ENTITY,
    Reason.FILTER_CONTRADICTORY: HTTPStatus.UNPROCESSABLE_ENTITY,
    Reason.REPLAY_TOO_LARGE: HTTPStatus.UNPROCESSABLE_ENTITY,
    Reason.REPLAY_ENDED: HTTPStatus.CONFLICT,
    Reason.CONFIG_KEY_UNKNOWN: HTTPStatus.UNPROCESSABLE_ENTITY,
    Reason.CONFIG_VALUE_INVALID: HTTPStatus.UNPROCESSABLE_ENTITY,
    Reason.VERSION_STALE: HTTPStatus.CONFLICT,
    Reason.DEAD_LETTER_SETTLED: HTTPStatus.CONFLICT,
    Reason.PERIOD_NOT_KEPT: HTTPStatus.UNPROCESSABLE_ENTITY,
    Reason.IDEMPOTENCY_KEY_MALFORMED: HTTPStatus.BAD_REQUEST,
    Reason.IDEMPOTENCY_IN_PROGRESS: HTTPStatus.CONFLICT,
    Reason.INTERNAL_ERROR: HTTPStatus.INTERNAL_SERVER_ERROR,
    Reason.POSTGRES_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.SCHEMA_MISSING: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.SCHEMA_BEHIND: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.SCHEMA_AHEAD: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.KAFKA_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.PARTITION_MISSING: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.CLOCK_SKEWED: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.INTAKE_FULL: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.GATEWAY_FULL: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.LOOP_HUNG: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.STOPPING: HTTPStatus.SERVICE_UNAVAILABLE,
}


class GatewayError(Failure[Reason]):
    """A refusal; `detail` is for people and may be shown to the caller, `fields` names the parts of the body at fault."""

    def __init__(self, reason: Reason, detail: str, fields: Sequence[str] = ()) -> None:
        super().__init__(reason, detail)
        self.detail = detail
        self.fields = fields

    retry_after = 2
    """Seconds, said where coming again can help: Postgres mostly comes back within a few, and providers choose their own pace."""

    @property
    def status(self) -> HTTPStatus:
        return STATUS[self.reason]


class CalledTooOften(GatewayError):
    """A refusal by rate; `retry_after` seconds later there may be room again."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(Reason.RATE_LIMITED, "this client calls too often")
        self.retry_after = retry_after
