"""The command that announces a payment, so that it can be reconciled."""

from typing import Annotated

import msgspec
from aiohttp import web

from gateway import bodies
from gateway.answers import answer
from gateway.errors import GatewayError, Reason
from gateway.keys import CALL
from gateway.postgres import transaction
from projections import expectations
from projections.errors import ProjectionError
from schemas.text import Currency, Line

MinorUnits = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class ExpectPayment(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A payment that your service expects."""

    reference: Line  #: The payment's reference: the provider's payment or order id, or a reference in its metadata.
    amount: MinorUnits  #: In minor units of `currency`.
    currency: Currency  #: ISO 4217 code.
    user_id: Line | None = None  #: Your id of the paying user.


class Expected(msgspec.Struct, frozen=True):
    """The expectation is committed."""

    reference: str  #: The payment's reference.
    reconciliation: expectations.Outcome  #: `awaited` until the payment succeeds, then the result of the comparison.


async def expect(request: web.Request) -> web.Response:
    """
    Announce a payment.

    Reconciliation compares the expected amount and currency with the payment, in either order of arrival; a
    difference is published as `billing.payment.mismatched`.
    """
    command = await bodies.read(request, ExpectPayment)
    trace = request[CALL].trace
    async with transaction(request) as connection:
        try:
            outcome = await expectations.expect(
                connection, command.reference, command.amount, command.currency, command.user_id, trace
            )
        except ProjectionError as error:
            raise GatewayError(Reason.EXPECTATION_SETTLED, "the payment was compared with another expected amount") from error
    return answer(Expected(command.reference, outcome))
