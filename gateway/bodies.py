"""JSON bodies, read as the record that a route declares."""

from functools import cache, lru_cache
from typing import TypeVar

import msgspec
from aiohttp import web

from gateway.errors import GatewayError, Reason
from schemas.numbers import Decoder
from schemas.text import DEPTH_MAX, is_too_deep

Record = TypeVar("Record", bound=msgspec.Struct)


async def read(request: web.Request, record: type[Record]) -> Record:
    """
    The record that the request's body states.

    Raises GatewayError: `content_type_not_json`, and those of `parse`.
    """
    check_content_type(request.headers.get("Content-Type", ""))
    return parse(await request.read(), record)


def parse(body: bytes, record: type[Record]) -> Record:
    """
    The record that a body states.

    Raises GatewayError: `body_not_json`, or `field_invalid` naming the field.
    """
    if is_too_deep(body):
        raise GatewayError(Reason.BODY_NOT_JSON, f"the body is nested more than {DEPTH_MAX} levels deep")
    try:
        decoder: Decoder[Record] = _decoder(record)
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise GatewayError(Reason.FIELD_INVALID, str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise GatewayError(Reason.BODY_NOT_JSON, "the body is not JSON") from error


@lru_cache(maxsize=64)
def check_content_type(value: str) -> None:
    """
    Refuse a body that is not declared as JSON.

    Raises GatewayError `content_type_not_json`.
    """
    media_type = value.partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise GatewayError(Reason.CONTENT_TYPE_NOT_JSON, "the Content-Type must be application/json")


@cache
def _decoder(record: type[Record]) -> Decoder[Record]:
    return Decoder(record)
