"""
Renders a message from its data by the templates of this release, as the worker renders it.

Only the data of a message is kept, not its text: a release that changes a template also changes the shown text of older messages.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from operations.errors import OperationError, Reason
from projections.notifications import Contents
from runtime.excerpts import described
from schemas.operations import Channel
from schemas.templates import Template, TemplateError, check
from streams.notifications.texts import Text, Texts

SAMPLES: Final[Mapping[str, str | int]] = {
    "providerPaymentId": "pi_3Q0aB2cD4eF6",
    "refundId": "re_3Q0aB2cD4eF6",
    "invoiceId": "in_1Q0aB2cD4eF6",
    "amount": 2990,
    "amountRefunded": 1000,
    "amountDue": 2990,
    "currency": "eur",
    "provider": "stripe",
    "alert": "crm_unavailable",
    "subject": "acme",
    "summary": "The CRM of acme has not answered for 10 minutes.",
    "runbook": "runbooks/partner-down.md",
}
"""A sample of each field that any template uses."""


def sample_of(template: Template) -> dict[str, str | int]:
    """Return sample data for the template, with all fields that it may use."""
    return {name: SAMPLES[name] for name in (*template.data, *template.optional)}


def of_contents(contents: Contents) -> Text:
    """Render a stored message. Raises OperationError `message_unreadable`."""
    if contents.data is None:
        raise OperationError(Reason.MESSAGE_UNREADABLE, "its data was erased, or cannot be read")
    return render(contents.template, contents.channel, contents.data, contents.locale)


def render(code: str, channel: Channel, data: Mapping[str, Any], locale: str | None = None) -> Text:
    """Render the template for the data. Raises OperationError `message_unreadable`."""
    try:
        return _texts().render(check(code, channel, data).code, channel, data, locale)
    except TemplateError as error:
        raise OperationError(Reason.MESSAGE_UNREADABLE, str(error)) from error
    except Exception as error:  # the template has changed since its data was checked
        raise OperationError(Reason.MESSAGE_UNREADABLE, described(error)) from error


@cache
def _texts() -> Texts:
    return Texts()
