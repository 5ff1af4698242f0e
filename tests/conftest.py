"""What all tests share: nothing starts until a test asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import settings

if TYPE_CHECKING:
    import pytest

pytest_plugins = ["tests.servers", "tests.promtool", "tests.gateways"]

# How long an example takes says nothing of what it finds, and on a busy machine a deadline fails by chance.
settings.register_profile("suite")
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-stripe-objects", action="store_true", help="send all of Stripe's objects through the system, not a sample of them"
    )
