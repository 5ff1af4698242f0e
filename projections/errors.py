"""The failures of this package: a change of configuration or of an expectation that is refused."""

from enum import StrEnum

from runtime.errors import Failure


class Reason(StrEnum):
    """The reasons of this package's failures."""

    CONFIG_KEY_UNKNOWN = "config_key_unknown"
    CONFIG_VALUE_INVALID = "config_value_invalid"
    VERSION_STALE = "version_stale"
    EXPECTATION_SETTLED = "expectation_settled"


class ProjectionError(Failure[Reason]):
    """The change is refused; nothing was written."""
