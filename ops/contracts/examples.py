"""An example of each record of the contract, for its readers and as a start for its tests."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec

from gateway.commands.acceptance import CommandsAccepted
from gateway.commands.cache import Invalidate, Invalidated
from gateway.commands.config import ChangeConfig, Changed
from gateway.commands.leads import Attempted
from gateway.commands.notifications import Enqueued, Send
from gateway.commands.payments import Expected, ExpectPayment
from gateway.commands.search import ChangeDocument
from gateway.problems import Problem
from gateway.webhooks.leads import LeadsAccepted
from gateway.webhooks.reception import Acknowledged
from operations.audit.routes import AuditEntry
from operations.dead_letters.routes import Discard, Discarded
from operations.deliveries.explanation import Explanation
from operations.deliveries.routes import DeliveriesDetail
from operations.deliveries.store import Delivery
from operations.endpoints.registry import AddEndpointSecret, MadeEndpointSecret, PutEndpoint
from operations.endpoints.views import EndpointChanged, EndpointDetail, EndpointRemoved, EndpointSecretView
from operations.erasure.routes import EraseSubject
from operations.events.changes import FieldChange, StateChange
from operations.events.routes import EventsDetail
from operations.events.stations import Journey, Mark, Station
from operations.find.store import Finding
from operations.overview.store import Lamp, OpenAlert, OpenLetters, Overview, PartnerInTrouble, Pending, Relays, Sessions
from operations.partners.registry import MadeSecret, PutPartner
from operations.partners.views import AddSecret, PartnerChanged, PartnerDetail, PartnerRemoved, SecretView
from operations.retention.store import Away, Kept, Retention
from operations.stats.routes import Stats
from operations.stats.store import Point, Series
from operations.webhook_replay.filters import ReplayWebhooks
from operations.webhook_replay.routes import ReplaysBegun
from outbox.tasks import Task
from projections.config import ConfigEntry
from projections.contacts import Contact, Reach
from projections.leads import AttemptView, LeadEventView, LeadView
from projections.list_items import InvoiceItem, LeadItem, NotificationItem, PaymentItem, SubscriptionItem
from projections.notifications import NotificationsEventView, NotificationView
from projections.reads import (
    DisputePart,
    DisputeView,
    InvoiceView,
    PaymentView,
    ReadsEventView,
    RefundPart,
    RefundView,
    SubscriptionView,
)
from schemas.leads import DeliverLead, LeadReceived
from schemas.providers import providers

_AT: Final = datetime(2026, 11, 24, 10, 0, 0, 250_000, tzinfo=UTC)
_LATER: Final = datetime(2026, 11, 24, 10, 0, 1, tzinfo=UTC)
_ID: Final = UUID("01a20e74-0deb-71bc-83dc-7d8a5b6f4f28")
_CAUSED: Final = UUID("01a20e74-0e11-7c02-9b5e-3f0d5c1a7e44")
_TRACE: Final = _ID.hex
_KEY: Final = "9f86d081"  # a public id
_PAID: Final = ReadsEventView(id="evt_1Q", type="payment_intent.succeeded", occurred_at=_AT, event_id=_ID)
_REFUNDED: Final = ReadsEventView(id="evt_4Q", type="refund.updated", occurred_at=_AT, event_id=_CAUSED)
_DISPUTED: Final = ReadsEventView(id="evt_5Q", type="charge.dispute.created", occurred_at=_AT, event_id=_ID)
_INVOICED: Final = ReadsEventView(id="evt_2Q", type="invoice.paid", occurred_at=_AT, event_id=_ID)
_RENEWED: Final = ReadsEventView(id="evt_3Q", type="customer.subscription.updated", occurred_at=_AT, event_id=_ID)
_DELIVERY: Final = Delivery(
    id=_ID, source="stripe", outcome="accepted", received_at=_AT, trace_id=_TRACE, event_id="evt_1Q", ce_id=_ID,
    type="payment_intent.succeeded", secret_id=_KEY,
)  # fmt: skip
_STATION: Final = Station(
        id=_ID, topic="webhooks.stripe", key="pi_1Q", type="com.stripe.payment_intent.succeeded", occurred_at=_AT,
        state="relayed", source="/webhooks/stripe", trace_id=_TRACE, consumed_by=["payments"], marks=[Mark("payments", _LATER)],
)  # fmt: skip
_JOURNEY: Final = Journey(
    _STATION,
    [
        Station(
            id=_CAUSED, topic="billing.payment.events", key="pi_1Q", type="billing.payment.succeeded", occurred_at=_AT,
            state="relayed", source="/payments", trace_id=_TRACE, causation_id=_ID, consumed_by=["notifications"],
            marks=[Mark("notifications", _LATER)],
        )
    ],
)  # fmt: skip

_PARTNER: Final = PartnerDetail(
    id="ACME", origin="database", crm="https://crm.example.com", crm_headers=["X-Api-Key"], concurrency=5, rate="50/second",
    secrets=[SecretView("signing", _KEY, _AT), SecretView("crm", "2c26b46b", _AT)], version=1, created_at=_AT, updated_at=_AT,
    updated_by="5d41402a",
)  # fmt: skip
_ENDPOINT: Final = EndpointDetail(
    provider="stripe", id="eu", path="/v1/webhooks/stripe/eu", label="Stripe, EU account", mode="live",
    secrets=[EndpointSecretView(_KEY, _AT)], version=1, created_at=_AT, updated_at=_AT, updated_by="5d41402a",
)  # fmt: skip

_BODIES: Final[tuple[msgspec.Struct, ...]] = (
    *(example for provider in providers() for example in provider.examples),
    LeadReceived(partner_id="acme", external_lead_id="lead-42", payload={"name": "Ada", "email": "ada@example.com"}),
    ChangeDocument(index="properties", id="p-42", op="upsert", doc={"title": "Two rooms by the river", "rent": 95_000}),
    Invalidate(keys=["user:7:profile"], patterns=["user:7:list:*"]),
    Send(
        to="user-7", channel="EMAIL", template="invoice-payment-failed",
        data={"invoiceId": "in_1Q", "amountDue": 4990, "currency": "eur"},
    ),
    DeliverLead(lead_id=_ID, partner_id="acme", attempt=1),
    ExpectPayment(reference="pi_1Q", amount=4990, currency="eur", user_id="user-7"),
    ChangeConfig(key="rate_limit.webhooks", value="500/second", expected_version=3),
    EraseSubject(kind="customer", id="cus_Nfz8uKxQ2bVt0d", reason="request 2026-117"),
    ReplayWebhooks(source="stripe", status="rejected", since=_AT, reason="a wrong secret was live"),
    Discard("the partner has it by another way"),
    PutPartner(crm_url="https://crm.example.com/leads", crm_headers={"X-Api-Key": "4f1d0c"}, concurrency=5, rate="50/second"),
    AddSecret("signing"),
    PutEndpoint(label="Stripe, EU account", mode="live", secrets=("whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH",)),
    AddEndpointSecret("whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH"),
    Reach(email="ada@example.com", phone="+4915112345678", opt_outs=["SMS"]),
)  # fmt: skip

_ANSWERS: Final[tuple[msgspec.Struct, ...]] = (
    Problem(
        "urn:tallyhook:problem:signature_wrong", "Unauthorized", 401, "no live secret has signed this body", "signature_wrong",
        _TRACE,
    ),
    Acknowledged(received=True, id=_ID, duplicate=False),
    LeadsAccepted(_ID),
    CommandsAccepted(_ID),
    Invalidated(3),
    Enqueued(_ID),
    Attempted(delivered=True, attempt=1),
    Expected("pi_1Q", "awaited"),
    Changed("rate_limit.webhooks", "500/second", 4),
    ConfigEntry(key="rate_limit.webhooks", value="500/second", version=4, updated_at=_AT),
    Contact(user_id="user-7", opt_outs=["SMS"], updated_at=_AT, email="ada@example.com", phone="+4915112345678"),
    Task(task_id=_ID, kind="cache.invalidate", status="done", created_at=_AT, settled_at=_LATER, result={"invalidated": 3}),
    _DELIVERY,
    DeliveriesDetail(**msgspec.structs.asdict(_DELIVERY), journey=_JOURNEY),
    Explanation(
        cause="body_reencoded", secret_id=_KEY,
        detail="the secret 5d41402a of STRIPE_WEBHOOK_SECRET signed other bytes: the JSON was parsed and written again",
        advice="Let every proxy forward the body byte for byte: something parses and rewrites it, or recodes it.",
    ),
    AuditEntry(
        id=_CAUSED, at=_AT, method="POST", path="/internal/v1/cache/invalidate", status=200, trace_id=_TRACE, duration_ms=4,
        actor=_KEY, role="service", client="10.0.0.7",
    ),
    EventsDetail(
        event=_STATION, caused=_JOURNEY.caused, delivery=_DELIVERY,
        changes=[
            StateChange(
                kind="payment", id="pi_1Q", provider="stripe", currency="eur",
                fields=[FieldChange(name="status", before="pending", after="succeeded")],
            )
        ],
    ),
    Finding("payment", "pi_1Q", "stripe succeeded 4990 eur", "/v1/admin/payments/pi_1Q", _AT),
    Overview(
        at=_LATER, version="0.2.0", ledger=Lamp(balanced=True, sources=[], swept_to=_AT),
        pending=Pending(waiting=3, parked=0, oldest=_AT), relay=Relays(relays=2, shards=64, of=64),
        dead_letters=OpenLetters(ours=0, theirs=0, leads=1),
        partners=[PartnerInTrouble(partner="ACME", opened_at=_AT, probe_at=_LATER, failures=5, error="timeout")],
        alerts=[OpenAlert(alert="partner_failing", subject="ACME", count=12, raised_at=_AT, runbook="runbooks/partner-down.md")],
        processes=[Sessions(name="intake", sessions=1, since=_AT)],
    ),
    Retention(
        at=_LATER, kept=[Kept(kind="days", kept_from=_AT, moved_at=_AT)],
        away=[Away(partition="outbox_20261124", detached_at=_AT)], last_run=_AT, next_run=_LATER,
    ),
    Stats("deliveries", "5m", _AT.replace(microsecond=0), _AT.replace(minute=5, microsecond=0), [Series("stripe", [
        Point(at=_AT.replace(microsecond=0), number=42, failures=1, outcomes={"accepted": 41, "rejected": 1}),
    ])]),
    ReplaysBegun(_ID, 3),
    Discarded(_ID),
    _PARTNER,
    PartnerChanged(_PARTNER, [MadeSecret("signing", _KEY, "u7Zx0uY3bq1p5cTn8wEr2sVd9mKf4hLg")]),
    PartnerRemoved("ACME"),
    _ENDPOINT,
    EndpointChanged(_ENDPOINT, [MadeEndpointSecret(_KEY, "u7Zx0uY3bq1p5cTn8wEr2sVd9mKf4hLg")]),
    EndpointRemoved("stripe", "eu"),
    PaymentView(
        provider_payment_id="pi_1Q", provider="stripe", status="partially_refunded", amount=4990, amount_refunded=1000,
        currency="eur", reconciliation="matched", reference="order-7", expected_amount=4990, expected_currency="eur", version=2,
        updated_at=_AT, events=[_PAID, _REFUNDED], user_id="user-7",
        refunds=[RefundPart(id="re_1Q", status="succeeded", amount=1000, currency="eur", reason="requested_by_customer")],
        disputes=[DisputePart(id="du_1Q", status="needs_response", amount=4990, currency="eur", reason="fraudulent")],
    ),
    RefundView(
        id="re_1Q", provider="stripe", status="failed", amount=1000, currency="eur", version=2, updated_at=_AT,
        events=[_REFUNDED], reason="requested_by_customer", failure_reason="expired_or_canceled_card", payment_id="pi_1Q",
    ),
    DisputeView(
        id="du_1Q", provider="stripe", status="needs_response", amount=4990, currency="eur", version=1, updated_at=_AT,
        events=[_DISPUTED], reason="fraudulent", funds="withdrawn", respond_by=datetime(2026, 12, 3, 23, 59, 59, tzinfo=UTC),
        payment_id="pi_1Q",
    ),
    SubscriptionView(
        id="sub_1Q", provider="stripe", status="active", version=1, updated_at=_AT, events=[_RENEWED], customer_id="cus_1Q",
        current_period_end=datetime(2026, 12, 24, 10, tzinfo=UTC),
    ),
    InvoiceView(
        id="in_1Q", provider="stripe", status="paid", amount_due=4990, amount_paid=4990, currency="eur", version=1,
        updated_at=_AT, events=[_INVOICED], subscription_id="sub_1Q", payment_id="pi_1Q",
    ),
    PaymentItem(
        provider_payment_id="pi_1Q", provider="stripe", status="succeeded", amount=4990, amount_refunded=0, currency="eur",
        reference="pi_1Q", reconciliation="mismatched", expected_amount=5990, expected_currency="eur", version=1, updated_at=_AT,
        user_id="user-7",
    ),
    SubscriptionItem(id="sub_1Q", provider="stripe", status="active", version=1, updated_at=_AT, customer_id="cus_1Q"),
    InvoiceItem(
        id="in_1Q", provider="stripe", status="paid", amount_due=4990, amount_paid=4990, currency="eur", version=1,
        updated_at=_AT, subscription_id="sub_1Q", payment_id="pi_1Q",
    ),
    LeadItem(
        id=_ID, partner_id="acme", external_lead_id="lead-42", status="retrying", attempts=1, failures=1, version=2,
        received_at=_AT, updated_at=_AT, next_attempt_at=_LATER,
    ),
    NotificationItem(
        id=_ID, to="user-7", channel="EMAIL", template="invoice-payment-failed", status="sent", attempts=1, updated_at=_LATER,
    ),
    LeadView(
        id=_ID, partner_id="acme", external_lead_id="lead-42", status="delivered", payload=msgspec.Raw(b'{"name":"Ada"}'),
        attempts=[AttemptView(attempt=1, started_at=_AT, ended_at=_LATER, status=204)], version=2, received_at=_AT,
        updated_at=_LATER,
        events=[
            LeadEventView(id=_ID, type="lead.partner.received", occurred_at=_AT),
            LeadEventView(id=_CAUSED, type="lead.delivered", occurred_at=_LATER),
        ],
    ),
    NotificationView(
        id=_ID, to="user-7", channel="EMAIL", template="invoice-payment-failed", status="sent", attempts=1,
        message_id=f"<{_ID}@tallyhook>", version=2, updated_at=_LATER, address="ada@example.com",
        events=[
            NotificationsEventView(id=_ID, type="notification.send", occurred_at=_AT),
            NotificationsEventView(id=_CAUSED, type="notification.sent", occurred_at=_LATER),
        ],
    ),
)  # fmt: skip

EXAMPLES: Final = _BODIES + _ANSWERS
