"""The settings of the provider's API."""

from typing import Annotated

from pydantic import Field

from runtime.settings import ApiBaseWithoutLogin, DatabaseUrl, Secrets, Settings
from schemas.credentials import KEY_OF_STRIPE
from schemas.providers import ModeOrAny


class StripeSettings(Settings):
    """The settings of `tallyhook backfill stripe` and `tallyhook reconcile stripe`."""

    database_url: DatabaseUrl
    """The database in which webhooks are stored, `postgresql://…`."""
    stripe_api_key: Annotated[Secrets, KEY_OF_STRIPE] = ()
    """Secret or restricted keys that may read events; the first one is used."""
    stripe_mode: ModeOrAny = "any"
    """The mode of the events that are wanted, as in the gateway's settings."""
    stripe_api_base: ApiBaseWithoutLogin = "https://api.stripe.com"
    """The address of Stripe's API."""
    stripe_api_rate: float = Field(default=5.0, ge=0.01, le=100.0)
    """The maximum number of calls per second of `tallyhook reconcile stripe`."""
