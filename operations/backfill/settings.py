"""The settings of the provider's API."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from runtime.settings import DatabaseUrl, HttpUrl, Settings
from schemas.credentials import EVERY_OTHER, fault_of
from schemas.providers import ModeOrAny


def _check_key(key: SecretStr) -> SecretStr:
    if fault := fault_of(key.get_secret_value(), EVERY_OTHER - {"api key"}, one_word=True):
        raise ValueError(f"{fault}; a secret or restricted key, sk_ or rk_, is expected")
    return key


class StripeSettings(Settings):
    """The settings of `tallyhook backfill stripe` and `tallyhook reconcile stripe`."""

    database_url: DatabaseUrl
    """Where webhooks are written down, `postgresql://…`."""
    stripe_api_key: Annotated[SecretStr, AfterValidator(_check_key)] | None = None
    """A secret or restricted key that may read events."""
    stripe_mode: ModeOrAny = "any"
    """Which of Stripe's events are wanted, as the gateway has it."""
    stripe_api_base: HttpUrl = "https://api.stripe.com"
    """Where Stripe's API is."""
    stripe_api_rate: float = Field(default=5.0, ge=0.01, le=100.0)
    """Calls a second, at most, of `tallyhook reconcile stripe`."""
