"""Every refusal of the gateway: one list of reasons, the same word in answer, log, metric, test and runbook."""

from collections.abc import Sequence
from enum import StrEnum
from http import HTTPStatus
from typing import Final

from runtime.errors import Failure


class Reason(StrEnum):
    """The reasons of refusals; a word is never reused for something else."""

    # 400: the request cannot be understood
    REQUEST_MALFORMED = "request_malformed"
    SIGNATURE_MALFORMED = "signature_malformed"
    BODY_NOT_UTF8 = "body_not_utf8"
    BODY_NOT_JSON = "body_not_json"
    EVENT_MALFORMED = "event_malformed"
    EVENT_UNSTORABLE = "event_unstorable"
    QUERY_MALFORMED = "query_malformed"
    # 401, 403: it is not who it should be
    SIGNATURE_MISSING = "signature_missing"
    SIGNATURE_SCHEME_UNKNOWN = "signature_scheme_unknown"
    SIGNATURE_WRONG = "signature_wrong"
    TIMESTAMP_TOO_OLD = "timestamp_too_old"
    TIMESTAMP_IN_FUTURE = "timestamp_in_future"
    TOKEN_MISSING = "token_missing"  # noqa: S105  # a word for a refusal, not a secret
    TOKEN_WRONG = "token_wrong"  # noqa: S105  # same
    CERTIFICATE_NOT_ALLOWED = "certificate_not_allowed"
    ADMIN_TOKEN_NEEDED = "admin_token_needed"  # noqa: S105  # same
    # other 4xx
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    BODY_TOO_SLOW = "body_too_slow"
    BODY_TOO_LARGE = "body_too_large"
    CONTENT_TYPE_NOT_JSON = "content_type_not_json"
    EXPECT_HEADER_UNKNOWN = "expect_header_unknown"
    EXPECTATION_SETTLED = "expectation_settled"
    FIELD_INVALID = "field_invalid"
    ADDRESS_INVALID = "address_invalid"
    RATE_LIMITED = "rate_limited"
    CHANNEL_UNKNOWN = "channel_unknown"
    TEMPLATE_UNKNOWN = "template_unknown"
    TEMPLATE_CHANNEL_UNKNOWN = "template_channel_unknown"
    DATA_MISSING = "data_missing"
    DATA_INVALID = "data_invalid"
    CONFIG_KEY_UNKNOWN = "config_key_unknown"
    CONFIG_VALUE_INVALID = "config_value_invalid"
    VERSION_STALE = "version_stale"
    DEAD_LETTER_SETTLED = "dead_letter_settled"
    PERIOD_NOT_KEPT = "period_not_kept"
    IDEMPOTENCY_KEY_MALFORMED = "idempotency_key_malformed"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    IDEMPOTENCY_IN_PROGRESS = "idempotency_in_progress"
    PATTERN_TOO_BROAD = "pattern_too_broad"
    INDEX_UNKNOWN = "index_unknown"
    FILTER_MISSING = "filter_missing"
    FILTER_CONTRADICTORY = "filter_contradictory"
    REPLAY_TOO_LARGE = "replay_too_large"
    REPLAY_ENDED = "replay_ended"
    # 5xx: it is us
    INTERNAL_ERROR = "internal_error"
    POSTGRES_UNAVAILABLE = "postgres_unavailable"
    SCHEMA_MISSING = "schema_missing"
    SCHEMA_BEHIND = "schema_behind"
    SCHEMA_AHEAD = "schema_ahead"
    KAFKA_UNAVAILABLE = "kafka_unavailable"
    PARTITION_MISSING = "partition_missing"
    CLOCK_SKEWED = "clock_skewed"
    INTAKE_FULL = "intake_full"
    GATEWAY_FULL = "gateway_full"
    STOPPING = "stopping"
    LOOP_HUNG = "loop_hung"


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
    """A refusal; `detail` is for people and may be shown to whoever asked, `fields` names what of the body is at fault."""

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
