"""JSON lines on stderr by structlog, for our own code and for every library that logs."""

import json
import logging
import sys
from typing import Any, Final

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

from runtime.identity import working_as
from runtime.redaction import error_text, redacted_value
from runtime.uncaught import redact_uncaught

_FIXED: Final = frozenset({"time", "level", "process", "logger", "reason"})
"""Keys whose values come from our own lists; a password that is an ordinary word must not change them."""
_ERRORS: Final = frozenset({"error", "exception", "detail", "stack"})


def configure_logs(process: str, level: str = "INFO") -> None:
    """
    Send all logging of this process to stderr, one JSON object a line with `time`, `level`, `process` and `event`.

    No line holds a secret of this process, also not one that a library logs, nor does the stack trace of an uncaught error.
    """

    def name_process(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["process"] = working_as(process)
        return event

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        name_process,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _redact,
                structlog.processors.JSONRenderer(serializer=_dump),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    redact_uncaught()


def _redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    foreign = "logger" in event  # the event of our own code is a fixed word, a library's is a text
    for key, value in event.items():
        if key in _ERRORS or (foreign and key == "event"):
            event[key] = error_text(value) if isinstance(value, str | BaseException) else redacted_value(value)
        elif key not in _FIXED and key != "event":
            event[key] = redacted_value(value)
    return event


def _dump(value: Any, **_: Any) -> str:
    try:
        return orjson.dumps(value, default=str).decode()
    except TypeError:  # a number beyond 64 bits, or bytes beyond UTF-8 in a path: such a line must not be lost
        return json.dumps(value, default=str)
