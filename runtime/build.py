"""The build of a process, for Prometheus and for traces."""

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import Gauge

BUILD = Gauge(
    "tallyhook_build_info", "Always 1; the labels identify the process and its version.", ["process", "version", "python"]
)


@cache  # the package's file is read and parsed for it, which takes longer than a delivery
def release() -> str:
    """Return the version of the installed package, or `unknown` in a tree that is not installed."""
    try:
        return version("tallyhook")
    except PackageNotFoundError:
        return "unknown"


def register_build(process: str) -> None:
    """Export the name, version and Python of the process as a metric."""
    BUILD.labels(process, release(), platform.python_version()).set(1)
