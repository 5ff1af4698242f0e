"""The secrets that are safe to drop, and the reasons why others are not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from gateway.secrets.uses import LiveSecret, SecretState, Use, live_secrets, states_of
from gateway.settings import GatewaySettings
from runtime.settings import Secret
from tests.partners import known_senders

NOW: Final = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
SETTING: Final = "STRIPE_WEBHOOK_SECRET"
NEWEST: Final = Secret("whsec_new")
OLDER: Final = Secret("whsec_old")
BOTH: Final = (LiveSecret(SETTING, NEWEST, 0, 2, DAY), LiveSecret(SETTING, OLDER, 1, 2, DAY))


def use(secret: Secret, first: timedelta, last: timedelta = timedelta(0), last_hour: int = 0, setting: str = SETTING) -> Use:
    """Return the use of a secret from `first` until `last`; both are durations before now."""
    return Use(
        setting=setting, secret_id=secret.id, first_used_at=NOW - first, last_used_at=NOW - min(first, last), last_hour=last_hour
    )


def older(*uses: Use) -> SecretState:
    found = states_of(BOTH, uses, NOW)
    assert [each.id for each in found[:2]] == [NEWEST.id, OLDER.id]
    assert not found[0].safe_to_drop
    return found[1]


def test_the_older_one_is_safe_once_the_newest_is_in_use_and_it_was_not_for_a_full_overlap() -> None:
    assert older(use(NEWEST, 25 * HOUR), use(OLDER, 90 * HOUR, 24 * HOUR)).safe_to_drop
    assert older(use(NEWEST, 24 * HOUR)).safe_to_drop


def test_it_is_not_while_it_is_used_within_the_overlap() -> None:
    found = older(use(NEWEST, 48 * HOUR), use(OLDER, 90 * HOUR, 23 * HOUR))
    assert not found.safe_to_drop
    assert found.safe_from == NOW + HOUR
    assert found.why == "it was used within the overlap"


def test_it_is_not_before_the_newest_is_in_use_for_a_full_overlap_even_if_it_is_unused() -> None:
    """Until then an event from before the change may be delivered again with the old secret."""
    found = older(use(NEWEST, 23 * HOUR))
    assert not found.safe_to_drop
    assert found.safe_from == NOW + HOUR
    assert found.why == "the newest one is in use for less than the overlap"


@pytest.mark.parametrize("uses", [(), (use(OLDER, 90 * HOUR, 80 * HOUR),)], ids=["nothing", "the older one alone"])
def test_it_is_not_while_the_newest_has_not_been_used(uses: tuple[Use, ...]) -> None:
    found = older(*uses)
    assert not found.safe_to_drop
    assert found.safe_from is None


def test_the_only_one_never_is() -> None:
    [found] = states_of([LiveSecret(SETTING, OLDER, 0, 1, DAY)], [use(NEWEST, 90 * DAY)], NOW)[:1]
    assert (found.safe_to_drop, found.why) == (False, "it is the only one of its setting")


def test_only_the_receiver_knows_the_use_of_a_secret_that_signs_our_messages() -> None:
    live = [LiveSecret("PARTNER_ACME_CRM_SECRET", secret, n, 2, DAY, "signs") for n, secret in enumerate((NEWEST, OLDER))]
    found = states_of(live, [], NOW)[1]
    assert not found.safe_to_drop
    assert "ask the partner" in found.why
    assert found.uses_last_hour is None


def test_the_use_of_another_setting_does_not_count() -> None:
    assert not older(use(NEWEST, 48 * HOUR, setting="RAZORPAY_WEBHOOK_SECRET")).safe_to_drop


def test_a_used_secret_that_is_no_longer_configured_is_shown_as_gone() -> None:
    [_, gone] = states_of([LiveSecret(SETTING, NEWEST, 0, 1, DAY)], [use(OLDER, 3 * HOUR, 2 * HOUR, 7)], NOW)
    assert (gone.id, gone.configured, gone.position, gone.uses_last_hour) == (OLDER.id, False, None, 7)


def test_every_secret_of_the_settings_is_there_newest_first() -> None:
    settings = GatewaySettings.load(
        {
            "DATABASE_URL": "postgresql://x",
            "STRIPE_WEBHOOK_SECRET": "a,b",
            "INTERNAL_API_TOKEN": "c",
            "ADMIN_API_TOKEN": "d",
            "PARTNER_ACME_SECRET": "e,f",
            "PARTNER_ACME_TOKEN": "g",
            "PARTNER_ACME_CRM_URL": "http://x",
            "PARTNER_ACME_CRM_SECRET": "aaaa,bbbb",
        }
    )
    assert [
        (each.setting, each.secret.value, each.position, each.number)
        for each in live_secrets(settings, known_senders(settings.partners))
    ] == [
        ("STRIPE_WEBHOOK_SECRET", "a", 0, 2),
        ("STRIPE_WEBHOOK_SECRET", "b", 1, 2),
        ("INTERNAL_API_TOKEN", "c", 0, 1),
        ("ADMIN_API_TOKEN", "d", 0, 1),
        ("PARTNER_ACME_SECRET", "e", 0, 2),
        ("PARTNER_ACME_SECRET", "f", 1, 2),
        ("PARTNER_ACME_TOKEN", "g", 0, 1),
        ("PARTNER_ACME_CRM_SECRET", "aaaa", 0, 2),
        ("PARTNER_ACME_CRM_SECRET", "bbbb", 1, 2),
    ]
