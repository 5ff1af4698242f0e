"""The data that a notification needs before it is accepted."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.templates import TEMPLATES, TemplateError, check

PAID: dict[str, Any] = {"providerPaymentId": "pi_1", "amount": 2990, "currency": "eur"}


def refusal(code: str, channel: Any, data: dict[str, Any]) -> TemplateError:
    with pytest.raises(TemplateError) as caught:
        check(code, channel, data)
    return caught.value


def test_whole_data_passes_and_undeclared_data_is_accepted() -> None:
    assert check("payment-succeeded", "EMAIL", {**PAID, "version": 3}) is TEMPLATES["payment-succeeded"]


def test_every_missing_field_is_named_at_once() -> None:
    error = refusal("payment-refunded", "SMS", {"currency": "eur", "amount": None})
    assert (error.reason, error.fields) == ("data_missing", ("providerPaymentId", "amount", "amountRefunded"))


@pytest.mark.parametrize("wrong", ["2990", True, 29.9, [1]])
def test_an_amount_that_is_no_integer_is_refused(wrong: object) -> None:
    error = refusal("payment-succeeded", "EMAIL", {**PAID, "amount": wrong})
    assert (error.reason, error.fields) == ("data_invalid", ("amount",))


def test_an_unknown_template_is_refused() -> None:
    assert refusal("payment_succeeded", "EMAIL", PAID).reason == "template_unknown"


def test_a_channel_without_a_text_is_refused() -> None:
    assert refusal("payment-succeeded", "FAX", PAID).reason == "template_channel_unknown"
