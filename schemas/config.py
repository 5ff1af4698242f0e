"""Events of the runtime configuration."""

from typing import Any

import msgspec


class ConfigChanged(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """
    A key of the runtime configuration has a new value.

    Processes that follow the configuration apply it within two seconds.
    """

    key: str  #: The key.
    value: Any  #: The new value; null restores the default.
    version: int  #: The key's version, counted from 1.
    changed_by: str  #: The public id of the operator's token.
