"""How the provider's API is reached."""

from pydantic import Field, SecretStr

from runtime.settings import DatabaseUrl, Settings
from schemas.stripe import ModeOrAny


class StripeSettings(Settings):
    """The settings of `tallyhook backfill stripe`."""

    database_url: DatabaseUrl
    """Where webhooks are written down, `postgresql://…`."""
    stripe_api_key: SecretStr | None = None
    """A secret or restricted key that may read events."""
    stripe_mode: ModeOrAny = "any"
    """Which of Stripe's events are wanted, as the gateway has it."""
    stripe_api_base: str = Field(default="https://api.stripe.com", pattern=r"^https?://.+")
    """Where Stripe's API is."""
