"""The failures of one benchmark: they void its result, and the benchmarks after it still run."""

from __future__ import annotations

from typing import Final

import psutil
import psycopg
import requests
from confluent_kafka import KafkaException

from benchmarks.beside import WorkFailed
from benchmarks.figures import Void
from ops.stack.errors import StackError

FAILURES: Final = (Void, WorkFailed, StackError, psycopg.Error, requests.RequestException, KafkaException, psutil.Error)


def reason_of(error: Exception) -> str:
    """One line for the result: a failure that is not ours is named by its class."""
    text = " ".join(str(error).split())
    return text if isinstance(error, Void) else f"{type(error).__name__}: {text}"
