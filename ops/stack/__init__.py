"""The local stack: real Postgres, Kafka, Redis and Elasticsearch from packages alone."""

from ops.stack.errors import StackError
from ops.stack.stack import Stack

__all__ = ["Stack", "StackError"]
