"""
The other processes of a gateway that runs as several (`GATEWAY_PROCESSES`), so that each of them answers for all.

The kernel chooses which process accepts a connection. So a request for the health or the metrics of the gateway is forwarded to
the others, over the loopback.
"""

import asyncio
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import aiohttp
import msgspec

from gateway.errors import GatewayError, Reason
from runtime.addresses import LOOPBACK

LABEL: Final = "gateway_process"
"""The label that distinguishes the processes of one gateway in its metrics."""
_LIMIT: Final = aiohttp.ClientTimeout(total=2.0)
_FRESH: Final = 1.0  # seconds for which an answer is reused: anyone may request our health at any rate
_NO_PORTS: Final[Mapping[int, int]] = MappingProxyType({})


class _Problem(msgspec.Struct):
    reason: Reason
    detail: str = ""


class Siblings:
    """The number of this process, and the loopback ports of the others by their numbers, empty if there are no others."""

    def __init__(self, number: int = 1, ports: Mapping[int, int] = _NO_PORTS) -> None:
        self._number = number
        self._ports = ports
        self._checks: dict[str, tuple[float, asyncio.Task[GatewayError | None]]] = {}

    async def check(self, path: str) -> None:
        """Raise the refusal of a process that refuses the path, or `loop_hung` for one that does not answer."""
        if not self._ports:
            return
        loop = asyncio.get_running_loop()
        until, check = self._checks.get(path, (0.0, None))
        if check is None or (check.done() and loop.time() >= until):
            check = loop.create_task(self._refusal(path))
            self._checks[path] = (loop.time() + _FRESH, check)
        if refusal := await asyncio.shield(check):
            raise GatewayError(refusal.reason, refusal.detail)

    async def merge(self, path: str, text: str) -> str:
        """
        Return the metrics of all processes, with `text` as those of this one.

        Raises GatewayError `loop_hung` if one does not answer: sums without it would be wrong.
        """
        if not self._ports:
            return text
        others = await self._fetch_all(path)
        return merged({self._number: text, **dict(zip(self._ports, others, strict=True))})

    async def _refusal(self, path: str) -> GatewayError | None:
        try:
            await self._fetch_all(path)
        except GatewayError as error:
            return error
        return None

    async def _fetch_all(self, path: str) -> list[str]:
        async with aiohttp.ClientSession(timeout=_LIMIT) as session:
            return await asyncio.gather(*(self._fetch(session, number, path) for number in self._ports))

    async def _fetch(self, session: aiohttp.ClientSession, number: int, path: str) -> str:
        try:
            async with session.get(f"http://{LOOPBACK}:{self._ports[number]}{path}") as response:
                body, refused = await response.read(), not response.ok
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise GatewayError(Reason.LOOP_HUNG, f"process {number} of this gateway does not answer") from error
        if refused:
            try:
                problem = msgspec.json.decode(body, type=_Problem)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise GatewayError(Reason.LOOP_HUNG, f"process {number} of this gateway answers with an error") from error
            raise GatewayError(problem.reason, f"process {number} of this gateway: {problem.detail}")
        return body.decode()


def merged(texts: Mapping[int, str]) -> str:
    """The metrics of several processes as one text: each family once, with the samples of every process under its number."""
    families: dict[str, list[str]] = {}
    for number, text in texts.items():
        samples: list[str] = []
        for line in text.splitlines():
            if line.startswith("# HELP "):
                samples = families.setdefault(line, [])
            elif not line.startswith("#"):
                samples.append(_labelled(line, f'{LABEL}="{number}"'))
            elif line not in samples:
                samples.append(line)  # the type, which is the first line of a family
    return "".join(f"{line}\n" for line in _lines(families))


def _labelled(sample: str, label: str) -> str:
    """Add the label at the first brace: blanks and other braces can only be within the values of labels after it."""
    name, brace, rest = sample.partition("{")
    if brace:
        return f"{name}{{{label},{rest}"
    name, _, value = sample.partition(" ")
    return f"{name}{{{label}}} {value}"


def _lines(families: Mapping[str, list[str]]) -> Iterable[str]:
    for line, samples in families.items():
        yield line
        yield from samples
