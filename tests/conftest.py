"""Fixtures of all tests; nothing starts until a test uses it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from runtime import redaction
from runtime.startup import tune_gc

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ["tests.servers", "tests.promtool", "tests.gateways", "tests.sharing"]

# The duration of an example proves nothing, and on a busy machine a deadline fails by chance.
# On CI the examples are the same at each run, as hypothesis' own profile for CI has it.
settings.register_profile("suite", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("suite")


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    """Take back what a test's settings made of the process environment (`runtime/outgoing.py`): other tests share the process."""
    before = dict(os.environ)
    yield
    if dict(os.environ) != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="module", autouse=True)
def _secrets_of_the_module() -> Iterator[None]:
    """Take back which texts count as secrets: a token of a test may be an ordinary word, which errors of other tests have too."""
    with pytest.MonkeyPatch.context() as kept:
        kept.setattr(redaction, "_current", redaction._current)
        kept.setattr(redaction, "_stored", dict(redaction._stored))
        yield


def pytest_collection_finish() -> None:
    """Exclude the modules and the tests from garbage collection, as our processes do with their modules."""
    tune_gc()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-stripe-objects", action="store_true", help="send all of Stripe's objects through the system, not a sample of them"
    )
