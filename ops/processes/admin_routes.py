"""The routes of operators, which need an admin token."""

from typing import Any, Final

from gateway.errors import Reason
from gateway.paging import Limited, Page
from gateway.route import Answer, Handler, Route
from gateway.secrets.uses import Secrets
from operations.audit import routes as audit
from operations.dead_letters import routes as dead_letters
from operations.dead_letters.listing import Sent
from operations.dead_letters.query import DeadLettersQuery
from operations.deliveries import routes as deliveries
from operations.deliveries.explanation import Explanation
from operations.deliveries.query import DeliveriesQuery
from operations.endpoints import routes as endpoints
from operations.endpoints.registry import AddEndpointSecret, PutEndpoint
from operations.endpoints.views import EndpointChanged, EndpointDetail, EndpointList, EndpointRemoved
from operations.erasure import routes as erasures
from operations.erasure.erasures import Erasure, Outlook
from operations.events import routes as events
from operations.find import routes as find
from operations.find.query import FindQuery
from operations.ledger import routes as ledger
from operations.overview import routes as overview
from operations.overview.store import Overview
from operations.partners import routes as partners
from operations.partners.registry import PutPartner
from operations.partners.views import AddSecret, PartnerChanged, PartnerDetail, PartnerList, PartnerRemoved
from operations.retention import routes as retention
from operations.retention.store import Retention
from operations.secrets import routes as admin_secrets
from operations.state import routes as state
from operations.state.query import InvoicesQuery, LeadsQuery, NotificationsQuery, PaymentsQuery, SubscriptionsQuery
from operations.stats import routes as stats
from operations.stats.query import StatsQuery
from operations.topology import routes as topology
from operations.webhook_replay import routes as replays
from operations.webhook_replay.filters import ReplayWebhooks
from operations.webhook_replay.jobs import Replay
from operations.webhook_replay.preview import Preview
from projections.leads import LeadView
from projections.notifications import NotificationView
from projections.reads import DisputeView, InvoiceView, PaymentView, RefundView, SubscriptionView
from schemas.endpoints import Slug
from schemas.providers import ProviderName
from schemas.text import PartnerId
from topology.view import Topology

_BYTES: Final = "application/octet-stream"
_ABSENT: Final = frozenset({Reason.NOT_FOUND})
_OTHERS_ID: Final = frozenset({Reason.PARTNER_ID_TAKEN, Reason.PARTNER_IN_ENVIRONMENT})
_OF_PARTNERS: Final = _ABSENT | _OTHERS_ID | {Reason.SEAL_KEYS_MISSING, Reason.SEAL_UNREADABLE}
_OF_ENDPOINTS: Final = frozenset({Reason.SECRET_INVALID, Reason.SEAL_KEYS_MISSING, Reason.SEAL_UNREADABLE})
_OF_CALLS: Final = frozenset({"client", "headers"})  # who called, with what
_OF_EVENTS: Final = _OF_CALLS | {"key", "excerpt"}  # the key of a message to an address is that address
_ENDPOINT: Final = "The provider, or the id of the endpoint."
_IN_PATH: Final[dict[str, Any]] = {"provider": ProviderName, "id": Slug}


def _one(path: str, name: str, handler: Handler, found: Answer, id_text: str, **more: Any) -> Route:
    """The route that reads one thing by its id."""
    answers = {200: found}
    return Route(
        "GET", f"/v1/admin/{path}", f"admin_{name}", handler, answers, role="admin", id_text=id_text, refuses=_ABSENT, **more
    )


def _listed(path: str, handler: Handler, page: type[Page[Any]], query: type[Limited], **more: Any) -> Route:
    """The route of a list."""
    return Route("GET", f"/v1/admin/{path}", f"admin_{path}", handler, {200: page}, role="admin", query=query, **more)


ADMIN: Final = (
    Route(
        "GET", "/v1/admin/webhooks/deliveries", "admin_deliveries", deliveries.deliveries, {200: deliveries.DeliveriesPage},
        role="admin", query=DeliveriesQuery, personal=_OF_CALLS,
    ),
    _one(
        "webhooks/deliveries/{id}", "delivery", deliveries.delivery, deliveries.DeliveriesDetail, "The id of the delivery.",
        personal=_OF_EVENTS,
    ),
    _one(
        "webhooks/deliveries/{id}/body", "body", deliveries.body, _BYTES, "The id of the delivery.", raw=True,
        answer_texts={200: "The raw body of the delivery."},
    ),
    _one("webhooks/deliveries/{id}/explanation", "explanation", deliveries.explanation, Explanation, "The id of the delivery."),
    Route(
        "POST", "/v1/admin/webhooks/replay", "admin_replay_begin", replays.begin, {200: Preview, 202: replays.ReplaysBegun},
        role="admin", body=ReplayWebhooks,
        refuses=frozenset({Reason.FILTER_MISSING, Reason.FILTER_CONTRADICTORY, Reason.REPLAY_TOO_LARGE}),
    ),
    Route(
        "GET", "/v1/admin/replays", "admin_replays", replays.all_replays, {200: replays.ReplaysPage},
        role="admin", query=replays.ReplayQuery,
    ),
    _one("replays/{replayId}", "replay", replays.replay, Replay, "The id of the replay."),
    Route(
        "GET", "/v1/admin/replays/{replayId}/items", "admin_replay_items", replays.items, {200: replays.Items},
        role="admin", id_text="The id of the replay.", query=replays.ItemsQuery, refuses=_ABSENT,
    ),
    Route(
        "POST", "/v1/admin/replays/{replayId}/cancel", "admin_replay_cancel", replays.cancel, {200: Replay},
        role="admin", id_text="The id of the replay.", refuses=_ABSENT | {Reason.REPLAY_ENDED},
    ),
    Route(
        "GET", "/v1/admin/ledger", "admin_ledger", ledger.ledger, {200: ledger.LedgerView},
        role="admin", query=ledger.LedgerQuery, refuses=frozenset({Reason.PERIOD_NOT_KEPT}),
    ),
    Route(
        "GET", "/v1/admin/dead-letters", "admin_dead_letters", dead_letters.dead_letters, {200: dead_letters.DeadLettersPage},
        role="admin", query=DeadLettersQuery, personal=frozenset({"detail"}),
    ),
    _one(
        "dead-letters/{id}", "dead_letter", dead_letters.dead_letter, dead_letters.DeadLettersDetail,
        "The id of the dead letter.", personal=frozenset({"detail", "key", "value", "headers", "keyText", "excerpt"}),
    ),
    Route(
        "POST", "/v1/admin/dead-letters/{id}/retry", "admin_dead_letter_retry", dead_letters.retry, {202: Sent},
        role="admin", id_text="The id of the dead letter, or of a lead.", refuses=_ABSENT | {Reason.DEAD_LETTER_SETTLED},
    ),
    Route(
        "POST", "/v1/admin/dead-letters/{id}/discard", "admin_dead_letter_discard", dead_letters.discard,
        {200: dead_letters.Discarded},
        role="admin",
        id_text="The id of the dead letter, or of a lead.",
        body=dead_letters.Discard, refuses=_ABSENT | {Reason.DEAD_LETTER_SETTLED},
    ),
    Route(
        "POST", "/v1/admin/erasures", "admin_erase", erasures.begin, {200: Outlook, 202: erasures.ErasuresBegun},
        role="admin", body=erasures.EraseSubject,
    ),
    Route(
        "GET", "/v1/admin/erasures", "admin_erasures", erasures.all_erasures, {200: erasures.ErasuresPage},
        role="admin", query=erasures.ErasuresQuery,
    ),
    _one("erasures/{id}", "erasure", erasures.erasure, Erasure, "The id of the erasure."),
    Route("GET", "/v1/admin/partners", "admin_partners", partners.partners, {200: PartnerList}, role="admin"),
    _one("partners/{id}", "partner", partners.partner, PartnerDetail, "The id of the partner.", id_type=PartnerId),
    Route(
        "PUT", "/v1/admin/partners/{id}", "admin_partner_put", partners.put, {200: PartnerChanged, 201: PartnerChanged},
        role="admin", body=PutPartner, id_type=PartnerId, id_refusal=Reason.FIELD_INVALID, id_text="The id of the partner.",
        refuses=_OF_PARTNERS - _ABSENT | {Reason.CRM_URL_REFUSED, Reason.VERSION_STALE},
        answer_texts={201: "The partner is added."},
    ),
    Route(
        "DELETE", "/v1/admin/partners/{id}", "admin_partner_remove", partners.remove, {200: PartnerRemoved},
        role="admin", id_type=PartnerId, id_text="The id of the partner.", refuses=_ABSENT | _OTHERS_ID,
    ),
    Route(
        "POST", "/v1/admin/partners/{id}/secrets", "admin_partner_secret_add", partners.add_secret, {201: PartnerChanged},
        role="admin", body=AddSecret, keyed=False, id_type=PartnerId, id_text="The id of the partner.",
        refuses=_OF_PARTNERS | {Reason.SECRET_INVALID},
    ),
    Route(
        "DELETE", "/v1/admin/partners/{id}/secrets/{secretId}", "admin_partner_secret_drop", partners.drop_secret,
        {200: PartnerChanged},
        role="admin", id_type=PartnerId, id_text="The id of the partner, or the public id of its secret.",
        refuses=_OF_PARTNERS | {Reason.SECRET_INVALID},
    ),
    Route("GET", "/v1/admin/endpoints", "admin_endpoints", endpoints.endpoints, {200: EndpointList}, role="admin"),
    Route(
        "GET", "/v1/admin/endpoints/{provider}/{id}", "admin_endpoint", endpoints.endpoint, {200: EndpointDetail},
        role="admin", id_schemas=_IN_PATH, id_type=PartnerId, id_text=_ENDPOINT, refuses=_ABSENT,
    ),
    Route(
        "PUT", "/v1/admin/endpoints/{provider}/{id}", "admin_endpoint_put", endpoints.put,
        {200: EndpointChanged, 201: EndpointChanged},
        role="admin", id_schemas=_IN_PATH,
        body=PutEndpoint, id_type=PartnerId, id_refusal=Reason.FIELD_INVALID, id_text=_ENDPOINT,
        refuses=_OF_ENDPOINTS | {Reason.VERSION_STALE}, answer_texts={201: "The endpoint is added."},
    ),
    Route(
        "DELETE", "/v1/admin/endpoints/{provider}/{id}", "admin_endpoint_remove", endpoints.remove, {200: EndpointRemoved},
        role="admin", id_schemas=_IN_PATH, id_type=PartnerId, id_text=_ENDPOINT, refuses=_ABSENT,
    ),
    Route(
        "POST", "/v1/admin/endpoints/{provider}/{id}/secrets", "admin_endpoint_secret_add", endpoints.add_secret,
        {201: EndpointChanged},
        role="admin", id_schemas=_IN_PATH, body=AddEndpointSecret, keyed=False, id_type=PartnerId, id_text=_ENDPOINT,
        refuses=_ABSENT | _OF_ENDPOINTS,
    ),
    Route(
        "DELETE", "/v1/admin/endpoints/{provider}/{id}/secrets/{secretId}", "admin_endpoint_secret_drop", endpoints.drop_secret,
        {200: EndpointChanged},
        role="admin", id_schemas=_IN_PATH, id_type=PartnerId,
        id_text="The provider, the id of the endpoint, or the public id of its secret.",
        refuses=_ABSENT | _OF_ENDPOINTS - {Reason.SECRET_INVALID},
    ),
    Route("GET", "/v1/admin/secrets", "admin_secrets", admin_secrets.secrets, {200: Secrets}, role="admin"),
    Route(
        "GET", "/v1/admin/topology", "admin_topology", topology.topology, {200: Topology},
        role="admin", query=topology.TopologyQuery, refuses=frozenset({Reason.KAFKA_UNAVAILABLE}),
    ),
    Route(
        "GET", "/v1/admin/audit", "admin_audit", audit.audit, {200: audit.AuditPage}, role="admin", query=audit.AuditQuery,
        personal=_OF_CALLS,
    ),
    Route("GET", "/v1/admin/overview", "admin_overview", overview.overview, {200: Overview}, role="admin"),
    Route("GET", "/v1/admin/retention", "admin_retention", retention.retention, {200: Retention}, role="admin"),
    Route("GET", "/v1/admin/stats", "admin_stats", stats.stats, {200: stats.Stats}, role="admin", query=StatsQuery),
    Route("GET", "/v1/admin/find", "admin_find", find.find, {200: find.Findings}, role="admin", query=FindQuery),
    _one(
        "events/{id}", "event", events.event, events.EventsDetail,
        "The id of the event, of its delivery, or of something that it changed.", personal=_OF_EVENTS,
    ),
    _listed("payments", state.payments, state.PaymentsPage, PaymentsQuery),
    _listed("subscriptions", state.subscriptions, state.SubscriptionsPage, SubscriptionsQuery),
    _listed("invoices", state.invoices, state.InvoicesPage, InvoicesQuery),
    _listed("leads", state.all_leads, state.LeadsPage, LeadsQuery),
    _listed("notifications", state.all_notifications, state.NotificationsPage, NotificationsQuery, personal=frozenset({"to"})),
    _one("payments/{id}", "payment", state.payment, PaymentView, "The provider's id of the payment."),
    _one("refunds/{id}", "refund", state.refund, RefundView, "The provider's id of the refund."),
    _one("disputes/{id}", "dispute", state.dispute, DisputeView, "The provider's id of the dispute."),
    _one("subscriptions/{id}", "subscription", state.subscription, SubscriptionView, "The provider's id of the subscription."),
    _one("invoices/{id}", "invoice", state.invoice, InvoiceView, "The provider's id of the invoice."),
    _one("leads/{id}", "lead", state.lead, LeadView, "The id of the lead.", personal=frozenset({"payload", "excerpt"})),
    _one(
        "notifications/{id}", "notification", state.notification, NotificationView, "The id of the notification.",
        personal=frozenset({"to", "address", "error"}),
    ),
)  # fmt: skip
