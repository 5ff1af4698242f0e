"""Reads the bodies of requests, and reports all of their faults, not only the first one."""

import msgspec
from aiohttp import web

from gateway import bodies
from gateway.errors import GatewayError, Reason
from operations.faults import Fault, Record, read_fields
from schemas import numbers


async def read_with_faults(request: web.Request, record: type[Record]) -> tuple[Record, list[Fault]]:
    """
    Read the body into the record and return the faults of all fields; with faults, the record has only the valid fields.

    Raises GatewayError if the body is not a JSON object.
    """
    try:
        return await bodies.read(request, record), []
    except GatewayError as error:
        if error.reason is not Reason.FIELD_INVALID:
            raise
        return _each_field(await request.read(), record, error)


def _each_field(body: bytes, record: type[Record], error: GatewayError) -> tuple[Record, list[Fault]]:
    """The valid fields of a body that `error` refused, and the faults of the others; raises `error` if no field has a fault."""
    try:
        given = numbers.exact(body)
    except (msgspec.DecodeError, UnicodeDecodeError):  # the typed decoder stopped before it
        raise error from None
    if not isinstance(given, dict):
        raise error
    valid, faults = read_fields(record, given)
    if not faults:
        raise error
    return valid, faults
