"""`tallyhook reconcile`: text, JSON and exit code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.command import tallyhook
from tests.integration.operations.reconciling import World, worker
from tests.simulators.stripe_api import KEY, StripeApi

if TYPE_CHECKING:
    import subprocess


@pytest.fixture
def world() -> World:
    return World()


def reconcile_command(api: StripeApi, database_url: str, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "DATABASE_URL": database_url, "STRIPE_API_KEY": KEY, "STRIPE_API_BASE": api.url, "STRIPE_API_RATE": "100",
        "USER": "x",
    }  # fmt: skip
    return tallyhook(environment | changes, "reconcile", "stripe", *arguments)


def test_the_command_reports_it_in_text_in_json_and_in_its_exit_code(api: StripeApi, database_url: str, world: World) -> None:
    api.keep(world.paid)
    first = reconcile_command(api, database_url, "--from", "2h")
    assert first.returncode == 1, first.stderr
    assert (
        f"invoice {world.invoice.id} missing here: status paid, amount_due 2990, amount_paid 2990, currency eur" in first.stdout
    )
    assert "1 differences remain: --apply corrects those that Stripe has" in first.stdout
    with worker(database_url):
        second = reconcile_command(api, database_url, "--from", "2h", "--apply", "--json")
    assert second.returncode == 0, second.stderr
    data = json.loads(second.stdout)
    assert (data["handedIn"], data["mended"], data["remaining"], data["equal"]) == (1, 1, 0, True)
    third = reconcile_command(api, database_url, "--from", "2h")
    assert (third.returncode, third.stdout.splitlines()[-1]) == (0, "both sides are equal")


@pytest.mark.parametrize(
    ("arguments", "changes", "message"),
    [
        (["--from", "1h", "--to", "2h"], {}, "--from is not before --to"),
        (["--from", "soon"], {}, "'soon' is neither a time"),
        (["--wait", "long"], {}, "--wait: a duration"),
        ([], {"STRIPE_API_KEY": ""}, "STRIPE_API_KEY is not set"),
        ([], {"STRIPE_MODE": "live"}, "STRIPE_API_KEY is not a key of the mode of STRIPE_MODE=live"),
        ([], {"STRIPE_API_KEY": "rk_wrong_but_secret"}, "stripe_key_refused: Stripe does not know this STRIPE_API_KEY"),
        ([], {"STRIPE_API_BASE": "http://127.0.0.1:1"}, "stripe_unreachable"),
    ],
)
def test_a_refusal_is_reported_in_one_line(
    api: StripeApi, database_url: str, arguments: list[str], changes: dict[str, str], message: str
) -> None:
    done = reconcile_command(api, database_url, *arguments, **changes)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert message in done.stderr
    assert "rk_" not in done.stderr + done.stdout
