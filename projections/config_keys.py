"""
Every key of the runtime configuration that has a reader: its effect and the values it may have.

A value is checked when it is set and again when it is read, since SQL or an older version may have written the table. A key with
another first word than these is free for your services, and holds any JSON that Postgres can store.
"""

import re
from collections.abc import Callable, Collection
from typing import Any, Final, NamedTuple

from projections.errors import ProjectionError, Reason
from runtime.rates import RATE_BOUNDS, RATE_PATTERN, any_case, rate_of
from schemas.numbers import whole
from schemas.rules import Json

ATTEMPTS_MAX: Final = 1000
"""Attempts to deliver a lead, at most; the setting LEAD_MAX_ATTEMPTS has the same bound."""


class Key(NamedTuple):
    """
    One key, or one for each partner: `{ID}` stands for the id of its variables in the environment.

    `fits` returns true if a decoded value can be used; `bounds` describes such values in words, `schema` in JSON Schema. Null
    always fits: it restores the default.
    """

    name: str
    fits: Callable[[Any], bool]
    bounds: str
    schema: Json
    about: str

    @property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(self.form.replace("(", "(?P<partner>"))

    @property
    def form(self) -> str:
        """The pattern in words that ECMA-262 has too."""
        return self.name.replace(".", "[.]").replace("{ID}", "([A-Z0-9_]{1,64})")


def _is_flag(value: Any) -> bool:
    return value is True or value is False


def _is_number_of_attempts(value: Any) -> bool:
    number = whole(value)
    return number is not None and 1 <= number <= ATTEMPTS_MAX


def _is_rate(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        rate_of(value)
    except ValueError:
        return False
    return True


_FLAG: Final = (_is_flag, "true or false", {"type": ["boolean", "null"]})
_ATTEMPTS: Final = (
    _is_number_of_attempts,
    f"a whole number from 1 to {ATTEMPTS_MAX}",
    {"type": ["integer", "null"], "minimum": 1, "maximum": ATTEMPTS_MAX},
)
_RATE: Final = (_is_rate, RATE_BOUNDS, {"type": ["string", "null"], "pattern": RATE_PATTERN})

KEYS: Final = (
    Key("rate_limit.webhooks", *_RATE, "The rate limit of one client address on `/v1/webhooks/*`."),
    Key("rate_limit.partners", *_RATE, "The rate limit of one partner for leads."),
    Key("lead.max_attempts", *_ATTEMPTS, "Attempts to deliver a lead before it is given up."),
    Key("partner.{ID}.max_attempts", *_ATTEMPTS, "The same for the leads of one partner."),
    Key("partner.{ID}.paused", *_FLAG, "True holds the leads of the partner back; this uses up no attempt."),
    Key("channel.EMAIL.paused", *_FLAG, "True holds notifications by mail back."),
    Key("channel.SMS.paused", *_FLAG, "True holds notifications by SMS back."),
    Key("channel.PUSH.paused", *_FLAG, "True holds notifications by push back."),
    Key("cache.allow_all", *_FLAG, "True allows patterns that begin with a wildcard in `cache/invalidate`."),
)
RESERVED: Final = frozenset(key.name.partition(".")[0] for key in KEYS)
"""First words of the keys that our processes read; no other key may begin with one."""
UNREADABLE: Final = object()
"""The stand-in for a value that cannot be decoded; nothing can use it."""
_TAKEN: Final = "|".join(any_case(word) for word in sorted(RESERVED))
KEY_FORM: Final = rf"^(?:{'|'.join(key.form for key in KEYS)}|(?!(?:{_TAKEN})(?:[.]|$))[A-Za-z0-9][A-Za-z0-9_.:-]{{0,199}})\Z"
"""A key that our processes read, or one that is free for your services."""
_PATTERNS: Final = tuple((key.pattern, key) for key in KEYS)


def is_read(name: str) -> bool:
    """Return true if a process of ours reads the key; other keys are free for your services."""
    return _find(name) is not None


def key_of(name: str) -> Key | None:
    """Return the definition of a key that a process of ours reads; None for other keys."""
    found = _find(name)
    return found[0] if found else None


def is_usable(name: str, value: Any) -> bool:
    """Return true if the reader of the key can use the value."""
    found = _find(name)
    return found is not None and (value is None or found[0].fits(value))


def check(name: str, value: Any, partners: Collection[str]) -> None:
    """
    Refuse a key or a value that nothing could use; `partners` are the ids of those that are configured.

    Raises ProjectionError with reason `config_key_unknown` or `config_value_invalid`.
    """
    found = _find(name)
    if found is None:
        if name.partition(".")[0].lower() in RESERVED:
            raise ProjectionError(
                Reason.CONFIG_KEY_UNKNOWN, f"nothing reads this key; the reserved keys are: {', '.join(key.name for key in KEYS)}"
            )
        return
    key, partner = found
    if partner is not None and partner not in partners:
        raise ProjectionError(
            Reason.CONFIG_KEY_UNKNOWN,
            f"no partner {partner} is configured; configured are: {', '.join(sorted(partners)) or 'none'}",
        )
    if value is not None and not key.fits(value):
        raise ProjectionError(Reason.CONFIG_VALUE_INVALID, f"{key.name} is {key.bounds}, or null for its default")


def _find(name: str) -> tuple[Key, str | None] | None:
    """Return the definition of the key that has this name, and the partner in the name."""
    found = next(((key, match) for pattern, key in _PATTERNS if (match := pattern.fullmatch(name))), None)
    return (found[0], found[1].groupdict().get("partner")) if found else None
