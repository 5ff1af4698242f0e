"""The failures of one benchmark: they make its result void, and the next benchmarks still run."""

from __future__ import annotations

from typing import Final

import psutil
import psycopg
import requests
from confluent_kafka import KafkaException

from benchmarks.figures import Void
from benchmarks.other_process import WorkFailed
from ops.stack.errors import StackError

FAILURES: Final = (Void, WorkFailed, StackError, psycopg.Error, requests.RequestException, KafkaException, psutil.Error)


def reason_of(error: Exception) -> str:
    """Return one line for the result; it names the class of any error except Void."""
    text = " ".join(str(error).split())
    return text if isinstance(error, Void) else f"{type(error).__name__}: {text}"
