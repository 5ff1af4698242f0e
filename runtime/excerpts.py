"""Texts of outsiders and of errors, cut for a log line and a column of Postgres."""

from typing import Final

from runtime.redaction import error_text

LENGTH: Final = 500


def excerpt_of(text: object, length: int = LENGTH) -> str:
    """
    Return the beginning of the text, with an escape for what UTF-8 or Postgres cannot hold (lone surrogates, NUL).

    Secrets are replaced before the cut: half of one would not be recognised.
    """
    text = error_text(str(text))
    return text[:length].encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")[:length]


def described(error: BaseException, length: int = LENGTH) -> str:
    """Return an error for an operator: its type and the beginning of its text."""
    try:
        words = str(error)
    except Exception:  # noqa: BLE001  # an error that cannot even be shown must still be reported
        words = "(no text)"
    return excerpt_of(f"{type(error).__name__}: {words}", length)
