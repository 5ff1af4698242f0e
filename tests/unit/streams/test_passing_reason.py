"""Failures that pass by themselves, and failures by the event itself."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors
from psycopg_pool import PoolTimeout

from streams.errors import Poison, Transient
from streams.processor import passing_reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Transient("crm_away", "the partner does not answer"), "crm_away"),
        (psycopg.OperationalError(), "postgres_unavailable"),
        (psycopg.InterfaceError(), "postgres_unavailable"),
        (PoolTimeout(), "postgres_unavailable"),
        (errors.AdminShutdown(), "postgres_unavailable"),
        (errors.DiskFull(), "postgres_unavailable"),
        (errors.SerializationFailure(), "postgres_unavailable"),
        (errors.DeadlockDetected(), "postgres_unavailable"),
        (errors.LockNotAvailable(), "postgres_unavailable"),
        (errors.CheckViolation(), "partition_missing"),
        (errors.UndefinedTable(), "postgres_refuses"),
        (errors.InsufficientPrivilege(), "postgres_refuses"),
    ],
)
def test_a_transient_failure_is_waited_for(error: Exception, reason: str) -> None:
    assert passing_reason(error) == reason


@pytest.mark.parametrize(
    "error",
    [
        Poison("rule_broken", "an amount below zero"),
        errors.UniqueViolation(),
        errors.ForeignKeyViolation(),
        errors.NotNullViolation(),
        errors.NumericValueOutOfRange(),
        errors.CharacterNotInRepertoire(),
        ValueError("a fault of the handler"),
        KeyError("a fault of the handler"),
    ],
)
def test_a_permanent_failure_is_not_waited_for(error: Exception) -> None:
    assert passing_reason(error) is None
