"""Which build a process is, for Prometheus and for traces."""

import platform
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import Gauge

BUILD = Gauge("tallyhook_build_info", "1, by what runs here and in which version.", ["process", "version", "python"])


def release() -> str:
    """The version of the package that is installed."""
    try:
        return version("tallyhook")
    except PackageNotFoundError:
        return "unknown"


def tell_build(process: str) -> None:
    """Name the process in the metrics."""
    BUILD.labels(process, release(), platform.python_version()).set(1)
