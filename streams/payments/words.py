"""Words that a provider passes on for a merchant: metadata and notes, which may hold anything."""

from typing import Any, Final

from schemas.numbers import whole

Notes = dict[str, Any] | list[Any] | None
"""An object of the merchant's own; PHP writes an empty one as a list."""

WORD_MAX: Final = 500


def word_in(notes: Notes, *names: str) -> str | None:
    """The first note of these names that is a text, and one that can be kept."""
    if not isinstance(notes, dict):
        return None
    return next((word for name in names if (word := _worded(notes.get(name)))), None)


def reference_in(notes: Notes) -> str | None:
    """The reference by which `payments/expect` knows a payment."""
    return word_in(notes, "reference", "order_id")


def user_in(notes: Notes) -> str | None:
    return word_in(notes, "user_id", "userId")


def _worded(value: Any) -> str | None:
    if (number := whole(value)) is not None:
        value = str(number)
    return value if isinstance(value, str) and 0 < len(value) <= WORD_MAX else None
