"""The failures of this package: a record, its data or a notification that breaks the contract."""

from enum import StrEnum

from runtime.errors import Failure


class Reason(StrEnum):
    """The reasons why a record cannot be read; published as reasons of dead letters and of answers."""

    ENVELOPE_INCOMPLETE = "envelope_incomplete"
    ENVELOPE_MALFORMED = "envelope_malformed"
    SCHEMA_UNKNOWN = "schema_unknown"
    SCHEMA_TOO_NEW = "schema_too_new"
    DATA_MALFORMED = "data_malformed"
    TEMPLATE_UNKNOWN = "template_unknown"
    TEMPLATE_CHANNEL_UNKNOWN = "template_channel_unknown"
    DATA_MISSING = "data_missing"
    DATA_INVALID = "data_invalid"


class SchemaError(Failure[Reason]):
    """The headers of a record, its data or a command does not fit the schema that it names."""
