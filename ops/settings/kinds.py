"""The settings that each process and command reads."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from gateway.settings import GatewaySettings
from operations.backfill.settings import StripeSettings
from outbox.settings import RelaySettings, TopicSettings
from projections.retention import RecordSettings
from runtime import outgoing
from runtime.endpoints import check_proxy
from runtime.kafka import File
from runtime.settings import ApiBase, HttpBase, HttpUrl, Settings
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


def _check_folder(path: Path) -> Path:
    if not os.path.isdir(path):  # noqa: PTH112  # Path's own raises for a name that is too long
        raise ValueError("an existing folder is expected")
    return path


def _check_present(path: Path) -> Path:
    if not os.path.exists(path):  # noqa: PTH110  # likewise
        raise ValueError("an existing file or folder is expected")
    return path


Folder = Annotated[Path, AfterValidator(_check_folder)]
FileOrFolder = Annotated[Path, AfterValidator(_check_present)]
ProxyUrl = Annotated[str, AfterValidator(check_proxy)]
PublishedPort = Annotated[int, Field(ge=1, le=65535)]


class SurroundingSettings(Settings):
    """Names in our `.env` that Docker Compose and OpenTelemetry read."""

    postgres_password: Annotated[str, AfterValidator(_letters_and_digits)] | None = Field(default=None, repr=False)
    """The password of the Postgres in docker-compose.yml."""
    otel_exporter_otlp_endpoint: ApiBase | None = None
    """The address at which a collector accepts spans over HTTP."""
    otel_exporter_otlp_traces_endpoint: HttpUrl | None = None
    """The same for spans alone."""


class NetworkSettings(Settings):
    """The settings of the network; libraries that read them (`runtime/outgoing.py`) report a wrong value late or not at all."""

    ssl_cert_file: File | None = None
    """The certificates to trust."""
    ssl_cert_dir: Folder | None = None
    """The same as a folder."""
    requests_ca_bundle: FileOrFolder | None = None
    """The certificates for downloads, Stripe's API, SMS and push alone."""
    https_proxy: ProxyUrl | None = Field(default=None, repr=False)
    """The proxy to servers over https."""
    http_proxy: ProxyUrl | None = Field(default=None, repr=False)
    """The proxy to servers over plain http."""
    all_proxy: ProxyUrl | None = Field(default=None, repr=False)
    """The proxy to both."""
    no_proxy: str | None = None
    """Hosts that are reached directly."""
    tallyhook_maven_mirror: HttpBase | None = Field(default=None, repr=False)
    """The source of the jars of the local stack."""

    @classmethod
    def given(cls, environ: Mapping[str, str]) -> dict[str, str]:
        return super().given(environ) | {name.upper(): text for name in outgoing.LOWER if (text := environ.get(name))}


class PublishedPorts(Settings):
    """The ports of the loopback on which docker-compose.yml publishes servers and workers."""

    postgres_port: PublishedPort | None = None
    kafka_port: PublishedPort | None = None
    redis_port: PublishedPort | None = None
    elasticsearch_port: PublishedPort | None = None
    prometheus_port: PublishedPort | None = None
    grafana_port: PublishedPort | None = None
    worker_port: PublishedPort | None = None
    worker_payments_port: PublishedPort | None = None
    worker_cache_port: PublishedPort | None = None
    worker_search_port: PublishedPort | None = None
    worker_notifications_port: PublishedPort | None = None
    worker_leads_port: PublishedPort | None = None
    worker_alerts_port: PublishedPort | None = None


KINDS: Final[tuple[type[Settings], ...]] = tuple(dict.fromkeys(kind for kinds in PROCESSES.values() for kind in kinds))
OTHERS: Final[tuple[type[Settings], ...]] = (StripeSettings, TopicSettings, SurroundingSettings)
"""Settings that only commands or other programs read: a missing one is no fault."""
OF_THE_FILE: Final[tuple[type[Settings], ...]] = (NetworkSettings, PublishedPorts)
"""Checked in `.env` alone: in Kubernetes REDIS_PORT and others are addresses, and a shell's proxy is the user's own."""
