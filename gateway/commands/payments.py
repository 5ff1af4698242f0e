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


class ExpectPayment(msgspec.Struct, frozen=True, rename="camel"):
    """A payment that should come; the amount is in the currency's minor units."""

    reference: Line
    amount: MinorUnits
    currency: Currency
    user_id: Line | None = None


class Expected(msgspec.Struct, frozen=True):
    """Answered when it is committed: `awaited`, or what became of it where the money is in already."""

    reference: str
    reconciliation: expectations.Outcome


async def expect(request: web.Request) -> web.Response:
    """Store the expectation, so that reconciliation can compare it with the payment."""
    command = await bodies.read(request, ExpectPayment)
    trace = request[CALL].trace
    async with transaction(request) as connection:
        try:
            outcome = await expectations.expect(
                connection, command.reference, command.amount, command.currency, command.user_id, trace
            )
        except ProjectionError as error:
            raise GatewayError(Reason.EXPECTATION_SETTLED, "another amount was expected here when it was paid") from error
    return answer(Expected(command.reference, outcome))
