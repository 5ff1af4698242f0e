"""The events of the runtime configuration."""

from typing import Any

import msgspec


class ConfigChanged(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A key has another value; `changed_by` is the public id of the token that was used, `version` counts the key's changes."""

    key: str
    value: Any
    version: int
    changed_by: str
