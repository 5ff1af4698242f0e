"""
Answers to a reader, whose token changes nothing: personal data is masked in all of them.

Personal data is what an erasure removes: contact data, the addresses and errors of messages, the payloads of leads and the
answers of CRMs, the records of dead letters. A route names its fields that hold some; mail addresses and telephone numbers are
masked in every field. Ids stay, those of users too: without the masked data they identify nobody.
"""

import re
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.keys import CALLER
from gateway.route import ROUTES

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MASK: Final = "(masked)"
_END: Final = r"\s\"'<>()\[\]{},;:=?&/"
# An address is looked for at the beginning of a word alone: at each of its characters, a long word would take minutes.
_ADDRESS: Final = re.compile(rf"(?<![^{_END}])[^{_END}]+(?:@|%40)[^{_END}]+|(?:(?<![\w+])\+|%2B)[1-9][0-9]{{5,14}}(?![\w:-])")


@web.middleware
async def mask_for_readers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Mask the personal data in a JSON answer to a reader."""
    response = await handler(request)
    caller = request.get(CALLER)
    if caller is None or caller.role != "reader" or not isinstance(response, web.Response):
        return response
    route = request.app[ROUTES].get(request.match_info.route.name or "")
    if response.content_type == "application/json" and isinstance(response.body, bytes):
        found = masked(msgspec.json.decode(response.body), route.personal if route else frozenset())
        response.body = msgspec.json.encode(found)
    return response


def masked(value: Any, personal: AbstractSet[str]) -> Any:
    """The decoded JSON with its personal fields masked: null stays, a list becomes empty, any other value becomes `MASK`."""
    match value:
        case dict():
            return {name: _mask(each) if name in personal else masked(each, personal) for name, each in value.items()}
        case list():
            return [masked(each, personal) for each in value]
        case str():
            return without_addresses(value)
        case _:
            return value


def without_addresses(text: str, kept: AbstractSet[str] = frozenset()) -> str:
    """The text with all mail addresses and telephone numbers masked, plain or quoted in a URL, except the `kept` ones."""
    return _ADDRESS.sub(lambda found: found[0] if found[0] in kept else MASK, text)


def addresses_in(text: str) -> list[str]:
    """The mail addresses and telephone numbers in a text."""
    return _ADDRESS.findall(text)


def _mask(value: Any) -> Any:
    if value is None:
        return None
    return [] if isinstance(value, list) else MASK
