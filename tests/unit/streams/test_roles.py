"""A worker loads what its own roles need."""

from __future__ import annotations

import subprocess
import sys

import pytest

from streams.roles import ROLES

_LOADED = """
import sys
from ops.processes.worker import ROLES
ROLES[sys.argv[1]]
print(*sorted({"elasticsearch", "redis", "apprise"} & {*sys.modules}))
"""


def test_each_role_is_found_under_its_own_name() -> None:
    assert {name: role.name for name, role in ROLES.items()} == {name: name for name in ROLES}


@pytest.mark.parametrize(
    ("role", "client"),
    [("payments", ""), ("alerts", ""), ("search", "elasticsearch"), ("cache", "redis"), ("notifications", "apprise")],
)
def test_a_worker_loads_no_client_of_a_role_that_it_has_not(role: str, client: str) -> None:
    done = subprocess.run([sys.executable, "-c", _LOADED, role], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == client
