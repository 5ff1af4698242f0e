"""Every declared variant has a text that uses exactly the declared data."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from jinja2 import UndefinedError, meta

from schemas import billing
from schemas.templates import TEMPLATES, Template, check
from streams.notifications.texts import FOLDER, PARTS, Texts
from streams.payments.news import Payer, notification_of

VARIANTS = [(template, channel) for template in TEMPLATES.values() for channel in template.channels]


def data_of(template: Template) -> dict[str, Any]:
    return {name: 1999 if kind is int else f"<{name}>" for name, kind in template.data.items()}


@pytest.mark.parametrize(("template", "channel"), VARIANTS, ids=[f"{template.code}-{channel}" for template, channel in VARIANTS])
def test_a_declared_variant_renders_with_its_declared_data(template: Template, channel: Any) -> None:
    text = Texts().render(template.code, channel, data_of(template))
    assert text.body
    assert (channel == "EMAIL") == bool(text.subject) == bool(text.html)


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=list(TEMPLATES))
def test_a_template_uses_only_what_it_declares(template: Template) -> None:
    environment = Texts().environment
    for channel in template.channels:
        for part in PARTS[channel]:
            used = meta.find_undeclared_variables(environment.parse((FOLDER / template.code / part).read_text()))
            assert used <= {*template.data, *template.optional}, part


def test_every_folder_of_texts_is_declared_and_holds_no_text_of_an_undeclared_channel() -> None:
    files = {str(path.relative_to(FOLDER)) for path in FOLDER.glob("*/*")}
    assert files == {f"{template.code}/{part}" for template, channel in VARIANTS for part in PARTS[channel]}


def test_data_is_escaped_in_a_page_and_nowhere_else() -> None:
    text = Texts().render("operator-alert", "EMAIL", data_of(TEMPLATES["operator-alert"]))
    assert "<summary>" in text.body
    assert "&lt;summary&gt;" in (text.html or "")
    assert "<summary>" not in (text.html or "")


def test_a_subject_is_one_line_whatever_the_data_holds() -> None:
    data = {**data_of(TEMPLATES["operator-alert"]), "subject": "disk\r\nBcc: all@example.com"}
    assert Texts().render("operator-alert", "EMAIL", data).subject == "[<alert>] disk Bcc: all@example.com"


def test_an_undeclared_name_fails_instead_of_leaving_a_gap() -> None:
    with pytest.raises(UndefinedError):
        Texts().environment.from_string("{{ nobody }}").render()


@pytest.mark.parametrize("kind", [billing.PaymentSucceeded, billing.PaymentFailed, billing.PaymentRefunded])
def test_messages_of_the_payments_worker_have_the_data_of_their_templates(kind: type[billing.PaymentData]) -> None:
    record = kind(
        provider="stripe",
        provider_payment_id="pi_1",
        status="succeeded",
        amount=2990,
        amount_refunded=5,
        currency="eur",
        version=1,
    )
    command = notification_of(record, Payer("u-1", None))
    assert command is not None
    check(command.template, command.channel, command.data)
    assert "29.90 EUR" in Texts().render(command.template, command.channel, command.data).body


def test_the_message_of_a_failed_invoice_has_the_data_of_its_template() -> None:
    record = billing.InvoiceFailed(
        provider="stripe", invoice_id="in_1", status="payment_failed", amount_due=700, amount_paid=0, currency="usd", version=1
    )
    command = notification_of(record, Payer("u-1", None))
    assert command is not None
    assert "7.00 USD" in Texts().render(command.template, command.channel, msgspec.to_builtins(record)).body


def test_an_amount_is_written_as_its_provider_counts_and_its_reader_reads() -> None:
    data = {"providerPaymentId": "pi_1", "amount": 50000, "currency": "isk", "provider": "stripe"}
    texts = Texts()
    assert texts.render("payment-succeeded", "EMAIL", data).subject == "Your payment of 500 ISK has arrived"
    razorpay = {**data, "provider": "razorpay"}
    assert texts.render("payment-succeeded", "EMAIL", razorpay).subject == "Your payment of 50000 ISK has arrived"
    euros = {**data, "currency": "eur", "amount": 123456}
    assert "1.234,56\N{NO-BREAK SPACE}\N{EURO SIGN}" in texts.render("payment-succeeded", "EMAIL", euros, "de-DE").body
