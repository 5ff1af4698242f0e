"""Servers that outlive their tests, and are emptied for each whole system that runs on them."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, TypeVar

import psycopg
import redis
import requests
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from psycopg import sql

from migrations import chain
from ops.stack.postgres import DATABASE
from tests.system import PROCESS_LOGS
from tests.waiting import wait_until

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ops.stack import Stack

T = TypeVar("T")
_TEMPLATE: Final = "migrated"
_KEPT: Final = ("postgres", "template0", "template1", _TEMPLATE)
_LIMIT: Final = 20  # seconds for one answer


class Lasting:
    """All four servers, for one whole system at a time."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._running = ExitStack()

    def emptied(self, *, migrated: bool = True) -> Stack:
        """
        End everything entered with `last`, start the stopped servers, and empty all of them.

        The database has our empty tables, where it is to be `migrated`.
        """
        self.close()
        self._stack.start()
        _empty_postgres(self._stack.postgres.dsn, _TEMPLATE if migrated else "template1")
        _empty_kafka(self._stack.kafka.url)
        with redis.Redis.from_url(self._stack.redis.url) as client:
            client.flushall()
        empty_elasticsearch(self._stack.elasticsearch.url)
        shutil.rmtree(self._stack.data_dir / PROCESS_LOGS, ignore_errors=True)
        return self._stack

    def last(self, running: AbstractContextManager[T]) -> T:
        """Enter a context that lasts until the servers are emptied for another test, or the session ends."""
        return self._running.enter_context(running)

    def close(self) -> None:
        self._running.close()


def _empty_postgres(server: str, template: str) -> None:
    """Leave one database, a copy of the template; migrating costs more than copying."""
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        found = {name for (name,) in connection.execute("select datname from pg_database")}
        if _TEMPLATE not in found:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(_TEMPLATE)))
            chain.upgrade(f"{server}/{_TEMPLATE}")
        for name in found.difference(_KEPT):
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
        names = (sql.Identifier(name) for name in (DATABASE, template))
        connection.execute(sql.SQL("create database {} template {}").format(*names))


def _empty_kafka(bootstrap: str) -> None:
    """Delete every topic and group; a member that was killed keeps its group until its session is over."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    if topics := _topics(admin):
        for deleted in admin.delete_topics(topics).values():
            deleted.result(_LIMIT)
        wait_until(lambda: not _topics(admin))
    wait_until(lambda: not _groups_left(admin))


def _topics(admin: AdminClient) -> list[str]:
    return [name for name in admin.list_topics(timeout=_LIMIT).topics if not name.startswith("__")]


def _groups_left(admin: AdminClient) -> bool:
    """Whether a group is still in use after an attempt to delete all of them."""
    groups = [group.group_id for group in admin.list_consumer_groups().result(_LIMIT).valid]
    left = False
    for deleted in (admin.delete_consumer_groups(groups) if groups else {}).values():
        try:
            deleted.result(_LIMIT)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.NON_EMPTY_GROUP:
                left = True
            elif error.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
                raise
    return left


def empty_elasticsearch(url: str) -> None:
    """Delete every index."""
    indices = requests.get(f"{url}/_cat/indices?format=json&expand_wildcards=all", timeout=_LIMIT).json()
    for index in indices:
        requests.delete(f"{url}/{index['index']}", timeout=_LIMIT).raise_for_status()
