"""The steps of the Postman collection in their order; everything else about a step follows from the OpenAPI document."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from schemas.providers import Provider, providers

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Step(NamedTuple):
    """
    One call of an operation.

    Its body is the example of the operation. Ids in the path are variables: `{{payment}}` for `/payments/{id}`, `{{task}}` for
    `/tasks/{taskId}`.
    """

    operation: str  #: The `operationId`.
    title: str
    refused: str = ""  #: The reason of the expected refusal.
    status: int = 0  #: The expected status of success, if only one of the documented ones is right.
    change: Mapping[str, Any] = _NOTHING  #: A merge patch (RFC 7396) of the body.
    raw: str = ""  #: The text of the body, in place of the example.
    proof: str = ""  #: The proof of the caller, in place of a correct one: `none`, a role, or `wrong`, `old` or `partnerBody`.
    query: Mapping[str, str] = _NOTHING
    headers: Mapping[str, str] = _NOTHING
    expect: Mapping[str, Any] = _NOTHING  #: Values of the answer, by path.
    header: str = ""  #: A header that the answer must have.
    until: tuple[str, str | bool] = ("", "")  #: A path of the answer and its value; the call is repeated until it has that.
    keep: Mapping[str, str] = _NOTHING  #: Paths of the answer whose values become variables, by variable.


_OBJECT: Final = {"amount": 4990, "currency": "eur"}
_PAID: Final = {"data": {"object": {**_OBJECT, "amount_received": 4990, "status": "succeeded", "metadata": {}}}}
_REFUND_FAILED: Final = {
    "id": "{{stripeEvent}}_3", "type": "refund.failed", "created": 1795514500,
    "data": {"object": {
        **_OBJECT, "id": "{{refund}}", "object": "refund", "status": "failed", "failure_reason": "expired_or_canceled_card",
        "payment_intent": "{{payment}}",
    }},
}  # fmt: skip
_DISPUTED: Final = {
    "id": "{{stripeEvent}}_4", "type": "charge.dispute.created", "created": 1795514600,
    "data": {"object": {
        **_OBJECT, "id": "{{dispute}}", "object": "dispute", "status": "needs_response", "reason": "fraudulent",
        "payment_intent": "{{payment}}",
    }},
}  # fmt: skip
_UNHANDLED: Final = {
    "id": "{{stripeEvent}}_2",
    "type": "product.created",
    "data": {"object": {"id": "prod_{{run}}", "object": "product"}},
}
_LEAD_KEY: Final = {"Idempotency-Key": "lead-{{run}}"}
_CACHE_KEY: Final = {"Idempotency-Key": "cache-{{run}}"}
_NEW_PARTNER: Final = {"crmUrl": "https://crm.example.com/leads", "expectedVersion": 0}
_NEW_ENDPOINT: Final = {"label": "Postman {{run}}", "mode": "any", "secrets": ["{{stripeSecret}}"], "expectedVersion": 0}
_BY_ENDPOINT: Final = {**_UNHANDLED, "id": "{{stripeEvent}}_5"}
_SETTING: Final = {"key": "postman.{{run}}", "value": 1, "expectedVersion": 0}
_KEY: Final = {"key": "postman.{{run}}"}
_CONTACT: Final = {"email": "{{user}}@example.com"}
_THIS_DELIVERY: Final = {"ids": ["{{delivery}}"], "source": None, "status": None, "from": None}
_THIS_PAYMENT: Final = {"kind": "payment", "id": "{{payment}}", "dryRun": True}


def _steps_of(provider: Provider) -> tuple[Step, ...]:
    """The steps of a provider's route: the example of its event signed, sent again, and unsigned."""
    name, id_header = provider.name, provider.event_id_header
    headers, others = [{id_header: f"{word}-{{{{run}}}}"} if id_header else {} for word in ("event", "another")]
    again = "The same body under another id is a duplicate" if id_header else "The same event is a duplicate"
    return (
        Step(name, "A signed event is committed", headers=headers, expect={"duplicate": False}),
        Step(name, again, headers=others, expect={"duplicate": True}),
        Step(name, "A missing signature is refused", "signature_missing", proof="none", headers=headers),
    )


FOLDERS: Final[Mapping[str, tuple[Step, ...]]] = {
    "Process": (
        Step("live", "The gateway is alive", expect={"live": True}),
        Step("ready", "The gateway accepts webhooks", expect={"ready": True}),
        Step("metrics", "The metrics"),
        Step("openapi", "The contract", expect={"openapi": "3.1.0"}),
    ),
    "Stripe": (
        Step("payments_expect", "A payment is expected", expect={"reconciliation": "awaited"}),
        Step("stripe", "A signed event is committed", change=_PAID, expect={"duplicate": False}, keep={"delivery": "id"}),
        Step("stripe", "The same event is a duplicate", change=_PAID, expect={"duplicate": True, "id": "{{delivery}}"}),
        Step("stripe", "An event that no worker handles is stored", change=_UNHANDLED, expect={"ignored": True}),
        Step("stripe", "A wrong signature is refused", "signature_wrong", proof="wrong"),
        Step("stripe", "An old signature is refused", "timestamp_too_old", proof="old"),
        Step("stripe", "A missing signature is refused", "signature_missing", proof="none"),
        Step("stripe", "A body other than JSON is refused", "body_not_json", raw="{"),
        Step("stripe", "Another content type is refused", "content_type_not_json", headers={"Content-Type": "text/plain"}),
        Step("stripe", "A body that is too large is refused", "body_too_large", raw='{"x": "{{large}}"}'),
        Step("admin_payment", "The payment has succeeded", until=("status", "succeeded"),
             expect={"amount": 4990, "currency": "eur", "reconciliation": "matched", "version": 1}),
        Step("stripe", "A refund has failed", change=_REFUND_FAILED),
        Step("admin_refund", "The state of the refund", until=("status", "failed"), expect={"paymentId": "{{payment}}"}),
        Step("stripe", "The payment is disputed", change=_DISPUTED),
        Step("admin_dispute", "The state of the dispute", until=("status", "needs_response"), expect={"reason": "fraudulent"}),
        Step("admin_payment", "The payment shows its refund and its dispute",
             expect={"refunds.length": 1, "disputes.length": 1, "amountRefunded": 0}),
        Step("admin_payments", "The payments that match their expectations", query={"reconciliation": "matched"},
             expect={"items[0].reconciliation": "matched"}),
        Step("admin_payments", "An unknown state is refused", "query_malformed", query={"status": "lost"}),
        Step("admin_subscriptions", "The subscriptions"),
        Step("admin_invoices", "The invoices that are open", query={"status": "open"}),
        Step("admin_subscription", "An unknown subscription", "not_found"),
        Step("admin_invoice", "An unknown invoice", "not_found"),
    ),
    **{provider.title: _steps_of(provider) for provider in providers() if provider.name != "stripe"},
    "Endpoints": (
        *(Step(f"{each.name}_endpoint", f"An unknown endpoint of {each.title}", "endpoint_unknown") for each in providers()),
        Step("admin_endpoint_put", "An endpoint is added", status=201, change=_NEW_ENDPOINT, expect={"endpoint.version": 1}),
        Step("admin_endpoint_put", "A stale version is refused", "version_stale", change={**_NEW_ENDPOINT, "expectedVersion": 7}),
        Step("admin_endpoint_put", "A secret of another kind is refused", "secret_invalid",
             change={"secrets": ["sk_live_{{run}}"]}),
        Step("stripe_endpoint", "An event comes by the endpoint", change=_BY_ENDPOINT, until=("received", True)),
        Step("stripe", "The same event by the plain path is a duplicate", change=_BY_ENDPOINT, expect={"duplicate": True}),
        Step("admin_endpoint", "The endpoint without its secrets", expect={"secrets.length": 1}),
        Step("admin_endpoint_secret_add", "Another secret", status=201, change={"value": "whsec_{{run}}{{run}}"},
             keep={"secret": "endpoint.secrets[1].id"}),
        Step("admin_endpoint_secret_drop", "The older secret is dropped"),
        Step("admin_endpoints", "The endpoints"),
        Step("admin_endpoint_remove", "The endpoint is removed"),
    ),
    "Partners": (
        Step("partner", "A signed lead is committed", status=202, headers=_LEAD_KEY, keep={"lead": "id"}),
        Step("partner", "The same lead with a signature of its body alone", status=200, proof="partnerBody",
             expect={"id": "{{lead}}"}),
        Step("partner", "The key with another lead is refused", "idempotency_key_reused", headers=_LEAD_KEY,
             change={"externalLeadId": "other-{{run}}"}),
        Step("partner", "An unknown partner is refused like a wrong signature", "signature_wrong",
             change={"partnerId": "unknown"}),
        Step("partner", "A wrong token is refused", "token_wrong", proof="none", headers={"Authorization": "Bearer wrong"}),
        Step("admin_lead", "The lead is delivered", until=("status", "delivered"), expect={"attempts[0].attempt": 1}),
        Step("admin_leads", "The leads that are delivered", query={"status": "delivered"},
             expect={"items[0].status": "delivered"}),
        Step("leads_deliver", "The attempt was made"),
        Step("admin_partner_put", "A partner is added", status=201, change=_NEW_PARTNER,
             expect={"partner.origin": "database", "newSecrets.length": 2}, keep={"secret": "newSecrets[0].id"}),
        Step("admin_partner_put", "A stale version is refused", "version_stale", change={**_NEW_PARTNER, "expectedVersion": 7}),
        Step("admin_partner_put", "A CRM in our own network is refused", "crm_url_refused", change={"crmUrl": "http://10.0.0.1/"}),
        Step("admin_partner", "The partner without its secrets", expect={"version": 1}),
        Step("admin_partner_secret_add", "A fresh secret", status=201),
        Step("admin_partner_secret_drop", "The older secret is dropped"),
        Step("admin_partners", "The partners"),
        Step("admin_partner_remove", "The partner is removed"),
    ),
    "Services": (
        Step("search_index", "A document is indexed", keep={"task": "taskId"}),
        Step("task", "The task is done", until=("status", "done")),
        Step("search_index", "An unknown index is refused", "index_unknown", change={"index": "none"}),
        Step("cache_invalidate", "Keys are removed", headers=_CACHE_KEY),
        Step("cache_invalidate", "The same call has the same answer", headers=_CACHE_KEY, header="Idempotent-Replayed"),
        Step("cache_invalidate", "The key for another call is refused", "idempotency_key_reused", headers=_CACHE_KEY,
             change={"keys": ["user:other"]}),
        Step("contact_put", "A contact is set", change=_CONTACT),
        Step("contact_post", "A contact is set by POST", change=_CONTACT),
        Step("contact", "The contact", expect=_CONTACT),
        Step("notifications_send", "A notification is accepted", keep={"notification": "id"}),
        Step("admin_notification", "The notification is sent", until=("status", "sent")),
        Step("admin_notifications", "The notifications that are sent", query={"status": "sent"},
             expect={"items[0].status": "sent"}),
        Step("notifications_send", "A missing variable of the template is refused", "data_missing",
             change={"data": {"invoiceId": None}}, expect={"fields": ["invoiceId"]}),
        Step("config_change", "A key is set", change=_SETTING, expect={"version": 1}),
        Step("config_change", "A stale version is refused", "version_stale", change={**_SETTING, "value": 2}),
        Step("config_change", "A service may not set it", "admin_token_needed", change=_SETTING, proof="service"),
        Step("config", "The key", query=_KEY, expect={"value": 1}),
        Step("config_history", "The changes of the key", query=_KEY),
        Step("config", "A call without a token is refused", "token_missing", proof="none"),
    ),
    "Operators": (
        Step("admin_deliveries", "The delivery log", query={"source": "stripe", "outcome": "accepted"},
             expect={"items[0].source": "stripe"}),
        Step("admin_delivery", "A delivery and its journey", expect={"journey.event.topic": "webhooks.stripe"},
             keep={"event": "ceId"}),
        Step("admin_body", "The raw body of the delivery"),
        Step("admin_explanation", "The delivery was not refused", expect={"cause": "not_rejected"}),
        Step("admin_replay_begin", "A dry run of a replay", status=200, change={**_THIS_DELIVERY, "dryRun": True},
             expect={"matched": 1}),
        Step("admin_replay_begin", "A replay", status=202, change=_THIS_DELIVERY, keep={"replay": "replayId"}),
        Step("admin_replay", "The replay changes nothing", until=("state", "done"), expect={"unchanged": 1}),
        Step("admin_replays", "The replays"),
        Step("admin_replay_items", "The deliveries of the replay", expect={"items[0].deliveryId": "{{delivery}}"}),
        Step("admin_replay_cancel", "A replay that has ended cannot be cancelled", "replay_ended"),
        Step("admin_overview", "The state of everything", expect={"ledger.balanced": True}),
        Step("admin_stats", "The deliveries of the last hours by source", query={"of": "deliveries", "bucket": "5m"}),
        Step("admin_find", "Everything that the payment's id names", query={"q": "{{payment}}"},
             expect={"items[0].kind": "payment"}),
        Step("admin_find", "A search for nothing is refused", "query_malformed", query={"q": ""}),
        Step("admin_event", "An event with its causes and its consequences", expect={"event.topic": "webhooks.stripe"}),
        Step("admin_ledger", "The ledger", expect={"balanced": True}),
        Step("admin_dead_letters", "The dead letters"),
        Step("admin_dead_letter", "An unknown dead letter", "not_found"),
        Step("admin_dead_letter_retry", "An unknown dead letter cannot be retried", "not_found"),
        Step("admin_dead_letter_discard", "An unknown dead letter cannot be discarded", "not_found"),
        Step("admin_erase", "A dry run of an erasure", status=200, change=_THIS_PAYMENT),
        Step("admin_erasures", "The erasures"),
        Step("admin_erasure", "An unknown erasure", "not_found"),
        Step("admin_topology", "The topology"),
        Step("admin_retention", "The state of the retention"),
        Step("admin_secrets", "The secrets by their public ids"),
        Step("admin_audit", "The audit log", query={"limit": "5"}),
        Step("admin_audit", "A service may not read it", "admin_token_needed", proof="service"),
    ),
}  # fmt: skip
