"""Bodies of requests whose every fault is named, not only the first."""

import msgspec
from aiohttp import web

from gateway import bodies
from gateway.errors import GatewayError, Reason
from operations.faults import Asked, Fault, read_fields


async def read_with_faults(request: web.Request, record: type[Asked]) -> tuple[Asked, list[Fault]]:
    """
    The body, with every fault of its fields: then the record has the sound ones.

    Raises GatewayError where it is no object in JSON.
    """
    try:
        return await bodies.read(request, record), []
    except GatewayError as error:
        if error.reason is not Reason.FIELD_INVALID:
            raise
        return _each_field(await request.read(), record, error)


def _each_field(body: bytes, record: type[Asked], error: GatewayError) -> tuple[Asked, list[Fault]]:
    """The sound fields of a body that was refused by this error, and the faults of the others; raises it where it says it all."""
    try:
        given = msgspec.json.decode(body)
    except msgspec.DecodeError:  # a number beyond all bounds
        raise error from None
    if not isinstance(given, dict):
        raise error
    asked, faults = read_fields(record, given)
    if not faults:
        raise error
    return asked, faults
