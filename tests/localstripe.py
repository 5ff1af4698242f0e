"""
localstripe, a stateful Stripe simulator of other authors (https://github.com/adrienverge/localstripe), at a pinned version.

It is fetched once into the cache that all stacks share, and runs as a separate process.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ops.stack.places import cache_folder
from tests.needs import missing
from tests.ports import free_port
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY: Final = "sk_test_12345"
_VERSION: Final = "1.15.10"
_PINNED: Final = f"localstripe=={_VERSION} --hash=sha256:e055538b786cee59f80c86d4ab7f7b31fb2cf32c3cbd28320cb463fc62dac220\n"
_LIMIT: Final = 180  # seconds


class LocalStripe:
    """A running one."""

    def __init__(self, url: str) -> None:
        self.url = url

    def post(self, path: str, **fields: str) -> dict[str, Any]:
        """Have it make something; its answer."""
        data = urllib.parse.urlencode(fields).encode()
        credentials = base64.b64encode(f"{KEY}:".encode()).decode()
        request = urllib.request.Request(f"{self.url}/v1/{path}", data, {"Authorization": f"Basic {credentials}"})  # noqa: S310  # ours
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  # same
            made: dict[str, Any] = json.load(answer)
            return made

    def pay(self, amount: int, currency: str) -> dict[str, Any]:
        """A payment intent that has succeeded."""
        customer = self.post("customers", email="payer@example.com")["id"]
        card = {"number": "4242424242424242", "exp_month": "12", "exp_year": "2030", "cvc": "123"}
        method = self.post("payment_methods", type="card", **{f"card[{name}]": value for name, value in card.items()})["id"]
        self.post(f"payment_methods/{method}/attach", customer=customer)
        return self.post(
            "payment_intents", amount=str(amount), currency=currency, customer=customer, payment_method=method, confirm="true"
        )


@contextmanager
def localstripe() -> Iterator[LocalStripe]:
    """One that has nothing yet, for as long as the context; without the package the test is `missing` something."""
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "localstripe", "--port", str(port), "--from-scratch"]
    environment = {**os.environ, "PYTHONPATH": str(_folder())}
    with tempfile.TemporaryDirectory() as here:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, env=environment, cwd=here, **quiet)  # type: ignore[call-overload]
        try:
            wait_until(lambda: _listens(port))
            yield LocalStripe(f"http://127.0.0.1:{port}")
        finally:
            process.kill()
            process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _folder() -> Path:
    """Beside its place first, so that one that was cut short is not taken for a whole one."""
    folder = cache_folder() / f"localstripe-{_VERSION}"
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as name:
        fresh, pinned = Path(name) / "fresh", Path(name) / "pinned.txt"
        pinned.write_text(_PINNED)
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--require-hashes",
            "--target",
            str(fresh),
            "-r",
            str(pinned),
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            missing(f"no localstripe: pip: {error}")
        if done.returncode:
            missing(f"no localstripe: pip cannot fetch it: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        if not folder.exists():
            fresh.rename(folder)
    return folder
