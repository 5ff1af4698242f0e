"""The faults of the texts of settings, in words for a reader who knows no library of ours; none quotes a text."""

import re
from collections.abc import Iterator
from typing import Any, Final, get_args

from pydantic.fields import FieldInfo

_QUOTES: Final = frozenset("'\"`\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb")


def is_utf8(text: str) -> bool:
    """Report whether the text can be written as UTF-8; other bytes of the environment are read as halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def fault_of(text: str, field: FieldInfo | None) -> str | None:
    """The fault of a text that is not UTF-8, is blank, has a quotation mark at an end, or is no number where one is expected."""
    if not is_utf8(text):
        return "is not UTF-8"
    if not text.strip():
        return "has nothing but white space: only an empty one counts as unset"
    if text[:1] in _QUOTES or text[-1:] in _QUOTES:  # some readers of env files keep it
        return "begins or ends with a quotation mark, which would be a part of it"
    # Pydantic also takes 1_000 and 5.0 for a whole number; Docker Compose and `sh` do not.
    kinds = set(_kinds_in(field.annotation)) if field else set()
    return next((fault for kind, (form, fault) in _NUMBERS.items() if kind in kinds and not form.fullmatch(text.strip())), None)


def _kinds_in(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _kinds_in(part)


_WHOLE: Final = "a whole number is expected"
_NUMBER: Final = "a number is expected"
_NUMBERS: Final = {int: (re.compile(r"-?[0-9]+"), _WHOLE), float: (re.compile(r"-?[0-9]*\.?[0-9]+"), _NUMBER)}
_PLAIN: Final = {
    "missing": "is required",
    "int_parsing": _WHOLE,
    "int_parsing_size": "a whole number is expected, and a smaller one",
    "float_parsing": _NUMBER,
    "literal_error": "one of {expected} is expected",
    "bool_parsing": "true or false is expected",
    "too_short": "is required",
    "greater_than_equal": "at least {ge} is expected",
    "less_than_equal": "at most {le} is expected",
}


def plain(problem: Any) -> str:
    """Return pydantic's finding in words for a reader who does not know pydantic."""
    context = problem.get("ctx", {})
    if problem["type"] == "value_error":
        return str(context["error"])
    return _PLAIN[problem["type"]].format(**context) if problem["type"] in _PLAIN else str(problem["msg"])
