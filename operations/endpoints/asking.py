"""Reading an endpoint from an untyped body: each field by itself, so that every fault is found and not the first alone."""

from collections.abc import Mapping
from typing import Any

import msgspec

from operations.endpoints.registry import Fault, PutEndpoint
from operations.errors import Reason


def read_fields(given: Mapping[str, Any]) -> tuple[PutEndpoint, list[Fault]]:
    """The endpoint of the sound fields, and the faults of the others."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(PutEndpoint)}
    sound: dict[str, Any] = {}
    faults = [f"Object contains unknown field `{name}`" for name in given if name not in fields]
    for name in given.keys() & fields.keys():
        try:
            sound[fields[name].name] = msgspec.convert(given[name], fields[name].type)
        except msgspec.ValidationError as error:
            where = "" if " - at `$" in str(error) else f" - at `$.{name}`"
            faults.append(f"{str(error).replace('at `$', f'at `$.{name}', 1)}{where}")
    return PutEndpoint(**sound), [Fault(Reason.FIELD_INVALID, text) for text in sorted(faults)]
