"""Texts of strangers and of errors, as a log line and a column of Postgres can hold them."""

from typing import Final

from runtime.redaction import error_text

LENGTH: Final = 500


def excerpt_of(text: object, length: int = LENGTH) -> str:
    """
    The beginning of the text; what UTF-8 or Postgres cannot hold (lone surrogates, NUL) is shown as an escape.

    Secrets are taken out before it is cut: half of one would not be known as such.
    """
    text = error_text(str(text))
    return text[:length].encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")[:length]


def described(error: BaseException, length: int = LENGTH) -> str:
    """An error of any kind, for an operator: its type and the beginning of its own words."""
    try:
        words = str(error)
    except Exception:  # noqa: BLE001  # an error that cannot even be shown is still to be reported
        words = "(no text)"
    return excerpt_of(f"{type(error).__name__}: {words}", length)
