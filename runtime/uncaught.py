"""Errors that are not caught: their stack traces are printed as Python prints them, but without secrets."""

import sys
import threading
import traceback

from runtime.redaction import error_text


def redact_uncaught() -> None:
    """Print the stack trace of an uncaught error as Python does, but without secrets."""
    sys.excepthook = lambda _kind, error, _trace: _print_uncaught(error)
    threading.excepthook = lambda args: _print_uncaught(args.exc_value)
    sys.unraisablehook = lambda args: _print_uncaught(args.exc_value)


def _print_uncaught(error: BaseException | None) -> None:
    if error and not isinstance(error, KeyboardInterrupt | SystemExit):
        sys.stderr.write(error_text("".join(traceback.format_exception(error))) + "\n")
