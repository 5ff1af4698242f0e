"""The settings of the provider's API."""

from typing import Annotated

from pydantic import Field

from runtime.settings import DatabaseUrl, HttpUrlWithoutLogin, Secrets, Settings
from schemas.credentials import KEY_OF_STRIPE
from schemas.providers import ModeOrAny


class StripeSettings(Settings):
    """The settings of `tallyhook backfill stripe` and `tallyhook reconcile stripe`."""

    database_url: DatabaseUrl
    """Where webhooks are written down, `postgresql://…`."""
    stripe_api_key: Annotated[Secrets, KEY_OF_STRIPE] = ()
    """Secret or restricted keys that may read events; the first one is used."""
    stripe_mode: ModeOrAny = "any"
    """Which of Stripe's events are wanted, as the gateway has it."""
    stripe_api_base: HttpUrlWithoutLogin = "https://api.stripe.com"
    """Where Stripe's API is."""
    stripe_api_rate: float = Field(default=5.0, ge=0.01, le=100.0)
    """Calls a second, at most, of `tallyhook reconcile stripe`."""
