"""Faults of a request: all are reported, and a field that is valid alone is valid beside a fault."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.errors import GatewayError
from gateway.errors import Reason as GatewayReason
from operations.bodies import _each_field
from operations.faults import read_fields
from operations.output import CommandError
from operations.partners.registry import PutPartner
from operations.partners.shell import terms_of


@pytest.mark.parametrize("number", [2, 2.0, Decimal("2.0")])
def test_a_whole_number_with_a_fraction_of_zero_is_an_integer(number: object) -> None:
    asked, faults = read_fields(PutPartner, {"concurrency": number, "bogus": 1})
    assert asked.concurrency == 2
    assert [fault.text for fault in faults] == ["Object contains unknown field `bogus`"]
    assert terms_of({"concurrency": number}).concurrency == 2


def test_a_fraction_is_a_fault_of_its_field() -> None:
    [fault] = read_fields(PutPartner, {"concurrency": 2.5})[1]
    assert fault.text == "Expected `int | null`, got `float` - at `$.concurrency`"
    with pytest.raises(CommandError, match=r"got `float` - at `\$\.concurrency`"):
        terms_of({"concurrency": 2.5})


def test_a_field_of_a_body_is_judged_beside_a_fault_as_alone() -> None:
    refusal = GatewayError(GatewayReason.FIELD_INVALID, "the first fault")
    asked, faults = _each_field(b'{"concurrency":2.0,"timeoutSeconds":2.5,"bogus":1}', PutPartner, refusal)
    assert (asked.concurrency, asked.timeout_seconds) == (2, 2.5)
    assert [fault.text for fault in faults] == ["Object contains unknown field `bogus`"]


@pytest.mark.parametrize(
    "body", [b'{"concurrency":"x","rate":"\xff"}', b'{"concurrency":"x",', b'{"concurrency":"x","rate":1e999999999999999999999}']
)
def test_a_body_that_is_unreadable_behind_its_first_fault_is_refused_for_that_fault(body: bytes) -> None:
    refusal = GatewayError(GatewayReason.FIELD_INVALID, "the first fault")
    with pytest.raises(GatewayError, match="the first fault"):
        _each_field(body, PutPartner, refusal)
