"""Real processes of the system on a test's own database, and their logs and health."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ops.dev.processes import TALLYHOOK
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRETS: Final = {
    "STRIPE_WEBHOOK_SECRET": "whsec_8f1c2a9d7b6e4f3085a1c9d2e7f60b4a",
    "INTERNAL_API_TOKEN": "q7Rk2mZx9vNb4tLw8yPc",
    "ADMIN_API_TOKEN": "H3fJ6sDg1aQe5uTi0oBn",
}
_PORT_OF: Final = {"gateway": "INTERNAL_PORT", "relay": "RELAY_WEB_PORT"}


class Running(NamedTuple):
    """A process, the address of its web server, and its log."""

    process: subprocess.Popen[bytes]
    web: str
    log: Path

    def ready(self) -> tuple[int, dict[str, Any]]:
        """Return the status and body of `/health/ready`; 0 while there is no answer."""
        return ask(f"{self.web}/health/ready")

    def logged(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]


def ask(url: str, **request: Any) -> tuple[int, dict[str, Any]]:
    """Return the status and JSON of an answer; 0 while there is none."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, **request), timeout=5) as answer:  # noqa: S310  # http by construction
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, json.load(refusal)
    except OSError:
        return 0, {}


@contextmanager
def running(words: tuple[str, ...], folder: Path, **settings: str) -> Iterator[Running]:
    """Run `tallyhook` with these arguments until the end of the block; all its listeners get free ports."""
    ports = {name: str(free_port()) for name in ("PUBLIC_PORT", "INTERNAL_PORT", "RELAY_WEB_PORT", "STREAMS_WEB_PORT")}
    environ = {**os.environ, **SECRETS, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", **ports, **settings}
    log = folder / f"{'-'.join(words)}.log"
    with log.open("wb") as output:
        process = subprocess.Popen([TALLYHOOK, *words], env=environ, cwd=folder, stdout=output, stderr=output)
    port = environ[_PORT_OF.get(words[0], "STREAMS_WEB_PORT")]
    try:
        yield Running(process, f"http://127.0.0.1:{port}", log)
    finally:
        process.kill()
        process.wait()
