"""What all tests share: nothing starts until a test asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

pytest_plugins = ["tests.servers", "tests.promtool", "tests.gateways"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-stripe-objects", action="store_true", help="send all of Stripe's objects through the system, not a sample of them"
    )
