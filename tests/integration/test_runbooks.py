"""The SQL of the runbooks runs on the database as it is: nobody finds out at night that a column has another name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from uuid import uuid4

import psycopg
import pytest

RUNBOOKS: Final = Path(__file__).parents[2] / "runbooks"
STATEMENTS: Final = [
    (page.stem, statement.replace('\\"', '"').replace("…", str(uuid4())))
    for page in sorted(RUNBOOKS.glob("*.md"))
    for _, statement in re.findall(r"""psql "\$DATABASE_URL" -c (["'])(.*?)(?<!\\)\1""", page.read_text(), re.DOTALL)
]


@pytest.mark.parametrize(
    "statement", [text for _, text in STATEMENTS], ids=[f"{page}-{n}" for n, (page, _) in enumerate(STATEMENTS)]
)
def test_a_statement_of_a_runbook_runs(database_url: str, statement: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(statement.encode())
        connection.rollback()
