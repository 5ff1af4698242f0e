"""How the provider's API is reached."""

from typing import Literal

from pydantic import Field, SecretStr

from runtime.settings import DatabaseUrl, Settings
from schemas.stripe import Mode


class StripeSettings(Settings):
    """The settings of `tallyhook backfill stripe`."""

    database_url: DatabaseUrl
    """Where webhooks are written down, `postgresql://…`."""
    stripe_api_key: SecretStr | None = None
    """A secret or restricted key that may read events."""
    stripe_mode: Mode | Literal["any"] = "any"
    """Which of Stripe's events are wanted, as the gateway has it."""
    stripe_api_base: str = Field(default="https://api.stripe.com", pattern=r"^https?://.+")
    """Where Stripe's API is."""
