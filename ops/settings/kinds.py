"""The settings that each process and command reads."""

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from gateway.settings import GatewaySettings
from operations.backfill.settings import StripeSettings
from outbox.settings import RelaySettings, TopicSettings
from projections.retention import RecordSettings
from runtime import outgoing, secret_files
from runtime.settings import HttpUrl, Settings
from streams.alerts.handler import AlertSettings
from streams.notifications.settings import NotificationSettings
from streams.settings import CacheSettings, LeadSettings, PaymentSettings, SearchSettings

_WORKERS: Final[Mapping[str, tuple[type[Settings], ...]]] = {
    "worker-payments": (PaymentSettings,),
    "worker-cache": (CacheSettings,),
    "worker-search": (SearchSettings,),
    "worker-notifications": (NotificationSettings,),
    "worker-leads": (LeadSettings,),
    "worker-alerts": (AlertSettings,),
}
PROCESSES: Final[Mapping[str, tuple[type[Settings], ...]]] = {
    "gateway": (GatewaySettings,),
    "relay": (RelaySettings, RecordSettings),
    **_WORKERS,
    "worker-all": tuple(kind for kinds in _WORKERS.values() for kind in kinds),
}


def _letters_and_digits(password: str) -> str:
    if not (password.isascii() and password.isalnum()):
        raise ValueError("letters and digits are expected: docker-compose.yml puts it into an address")
    return password


class SurroundingSettings(Settings):
    """Names in our `.env` that Docker Compose and OpenTelemetry read."""

    postgres_password: Annotated[str, AfterValidator(_letters_and_digits)] | None = Field(default=None, repr=False)
    """The password of the Postgres in docker-compose.yml."""
    otel_exporter_otlp_endpoint: HttpUrl | None = None
    """Where a collector takes spans over HTTP."""
    otel_exporter_otlp_traces_endpoint: HttpUrl | None = None
    """The same for spans alone."""


KINDS: Final[tuple[type[Settings], ...]] = tuple(dict.fromkeys(kind for kinds in PROCESSES.values() for kind in kinds))
OTHERS: Final[tuple[type[Settings], ...]] = (StripeSettings, TopicSettings, SurroundingSettings)
"""Read by commands and by others than us: what is missing there is no fault."""
# Of any form: in Kubernetes REDIS_PORT and its like are addresses.
ELSEWHERE: Final = frozenset(
    {
        *outgoing.VARIABLES,
        outgoing.MIRROR,
        secret_files.FOLDER,
        *(f"{name}_PORT" for name in ("POSTGRES", "KAFKA", "REDIS", "ELASTICSEARCH", "PROMETHEUS", "GRAFANA")),
        "WORKER_PORT",
        *(f"{process.replace('-', '_').upper()}_PORT" for process in _WORKERS),
    }
)
"""What says how the network is reached, and on which ports Docker Compose publishes what."""
