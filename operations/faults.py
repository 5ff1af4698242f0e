"""All faults of an operator's request, reported together instead of one at a time."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from operations.errors import OperationError, Reason
from schemas import numbers

Record = TypeVar("Record", bound=msgspec.Struct)


class Fault(NamedTuple):
    """One fault of a request."""

    reason: Reason
    text: str


def refuse(faults: Sequence[Fault]) -> None:
    """Raise OperationError with all faults, if any; its reason is `field_invalid` if a fault has it, else that of the first."""
    if len(faults) == 1:
        raise OperationError(*faults[0])
    if faults:
        reasons = [fault.reason for fault in faults]
        reason = Reason.FIELD_INVALID if Reason.FIELD_INVALID in reasons else reasons[0]
        raise OperationError(reason, "; ".join(f"{fault.reason}: {fault.text}" for fault in faults))


def read_fields(record: type[Record], given: Mapping[str, Any]) -> tuple[Record, list[Fault]]:
    """Build the record, whose fields all have defaults, from the valid fields; return it and the faults of the others."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(record)}
    valid: dict[str, Any] = {}
    faults = [f"Object contains unknown field `{name}`" for name in given if name not in fields]
    for name in given.keys() & fields.keys():
        try:
            valid[fields[name].name] = numbers.convert(given[name], fields[name].type)
        except msgspec.ValidationError as error:
            where = "" if " - at `$" in str(error) else f" - at `$.{name}`"
            faults.append(f"{str(error).replace('at `$', f'at `$.{name}', 1)}{where}")
    return record(**valid), [Fault(Reason.FIELD_INVALID, text) for text in sorted(faults)]
