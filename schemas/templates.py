"""Every template of a message to people: the data it needs, and the channels that it has a text for. The texts are elsewhere."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from schemas.errors import Reason, SchemaError
from schemas.numbers import INT64_MAX, INT64_MIN, whole
from schemas.operations import Channel


class Template(NamedTuple):
    """
    One message; `code` names the folder of its texts, `data` the fields that they need, `optional` those that they may use.

    Amounts are in minor units of the `currency` beside them, as `provider` counts them, else as ISO 4217 does.
    """

    code: str
    data: Mapping[str, type[str | int]]
    channels: tuple[Channel, ...] = ("EMAIL", "SMS", "PUSH")
    optional: Mapping[str, type[str | int]] = {}


_PAYMENT: Final = {"providerPaymentId": str, "amount": int, "currency": str}
_PROVIDER: Final = {"provider": str}

TEMPLATES: Final[Mapping[str, Template]] = {
    template.code: template
    for template in (
        Template("payment-succeeded", _PAYMENT, optional=_PROVIDER),
        Template("payment-failed", _PAYMENT, optional=_PROVIDER),
        Template("payment-refunded", {**_PAYMENT, "amountRefunded": int}, optional=_PROVIDER),
        Template("payment-refund-failed", {"refundId": str, "amount": int, "currency": str}, optional=_PROVIDER),
        Template("invoice-payment-failed", {"invoiceId": str, "amountDue": int, "currency": str}, optional=_PROVIDER),
        # The data of alert.raised, as it is.
        Template("operator-alert", {"alert": str, "subject": str, "summary": str, "runbook": str}),
    )
}


class TemplateError(SchemaError):
    """
    A notification cannot be made from its template and data.

    `reason` is `template_unknown`, `template_channel_unknown`, `data_missing` or `data_invalid`.
    """

    def __init__(self, reason: Reason, detail: str, fields: tuple[str, ...] = ()) -> None:
        super().__init__(reason, detail)
        self.fields = fields
        """The fields at fault, all of them, in the order of their declaration."""


def fields_of(template: Template, data: Mapping[str, Any]) -> dict[str, Any]:
    """The data that the template's texts may use, and no other; an absent optional field is None."""
    declared = {name: data[name] for name in template.data} | {name: data.get(name) for name in template.optional}
    return {name: value if (number := whole(value)) is None else number for name, value in declared.items()}


_SCHEMAS: Final[Mapping[type[str | int], dict[str, Any]]] = {
    str: {"type": "string", "pattern": r"^[^\x00]*\Z"},
    int: {"type": "integer", "minimum": INT64_MIN, "maximum": INT64_MAX},
}


def schema_of(template: Template) -> dict[str, Any]:
    """The JSON Schema of the data."""
    needed = {name: _SCHEMAS[kind] for name, kind in template.data.items()}
    optional = {name: {**_SCHEMAS[kind], "type": [_SCHEMAS[kind]["type"], "null"]} for name, kind in template.optional.items()}
    return {"type": "object", "properties": needed | optional, "required": list(needed)}


def check(code: str, channel: Channel, data: Mapping[str, Any]) -> Template:
    """
    Return the template if it has a text for the channel and the data is complete; data that is not declared is ignored.

    Raises TemplateError.
    """
    template = TEMPLATES.get(code)
    if template is None:
        raise TemplateError(Reason.TEMPLATE_UNKNOWN, f"there is no template {code!r}; there are {', '.join(TEMPLATES)}")
    if channel not in template.channels:
        raise TemplateError(
            Reason.TEMPLATE_CHANNEL_UNKNOWN, f"{code} has no text for {channel}, only for {', '.join(template.channels)}"
        )
    if missing := tuple(name for name in template.data if data.get(name) is None):
        raise TemplateError(Reason.DATA_MISSING, f"{code} needs {', '.join(missing)}", missing)
    kinds_of = {**template.data, **{name: kind for name, kind in template.optional.items() if data.get(name) is not None}}
    if wrong := tuple(name for name, kind in kinds_of.items() if not _is(data[name], kind)):
        kinds = ", ".join(f"{name} as {'text' if kinds_of[name] is str else 'an integer'}" for name in wrong)
        raise TemplateError(Reason.DATA_INVALID, f"{code} needs {kinds}", wrong)
    return template


def _is(value: Any, kind: type[str | int]) -> bool:
    if kind is str:
        return isinstance(value, str) and "\0" not in value
    number = whole(value)
    return number is not None and INT64_MIN <= number <= INT64_MAX
