"""The calls of the Postman collection, in their order: every flow of the contract, each with what has to come of it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

import msgspec

from schemas.providers import Provider, ProviderName, providers

Signer = ProviderName | Literal["partner", "partnerBody", "wrong", "old"]

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class Step(NamedTuple):
    """
    One call of a route, by its name.

    `ids` fills the path, `body` may name variables as `{{name}}`, `caller` is whose token goes along. `check` is JavaScript over
    `answer`, the JSON that came; `until` a condition over it that is waited for. `keep` notes parts of it for later calls.
    """

    title: str
    route: str
    status: tuple[int, ...] = (200,)
    body: dict[str, Any] | str | None = None
    signer: Signer | None = None
    caller: Literal["service", "admin"] | None = None
    ids: Mapping[str, str] = _NOTHING
    query: Mapping[str, str] = _NOTHING
    headers: Mapping[str, str] = _NOTHING
    check: str = ""
    until: str = ""
    keep: Mapping[str, str] = _NOTHING


def _refused(reason: str) -> str:
    return f"pm.expect(answer.reason).to.eql('{reason}')"


_STRIPE: Final = {
    "id": "{{stripeEvent}}", "object": "event", "type": "payment_intent.succeeded", "created": 1795514400,
    "api_version": "2026-02-25.clover", "livemode": False,
    "data": {"object": {
        "id": "{{payment}}", "object": "payment_intent", "amount": 4990, "amount_received": 4990, "currency": "eur",
        "status": "succeeded", "created": 1795514390, "customer": None, "latest_charge": None, "metadata": {},
    }},
}  # fmt: skip
_REFUND_FAILED: Final = {
    **_STRIPE, "id": "{{stripeEvent}}_3", "type": "refund.failed", "created": 1795514500,
    "data": {"object": {
        "id": "re_{{run}}", "object": "refund", "amount": 4990, "currency": "eur", "status": "failed", "created": 1795514490,
        "failure_reason": "expired_or_canceled_card", "payment_intent": "{{payment}}",
    }},
}  # fmt: skip
_DISPUTED: Final = {
    **_STRIPE, "id": "{{stripeEvent}}_4", "type": "charge.dispute.created", "created": 1795514600,
    "data": {"object": {
        "id": "du_{{run}}", "object": "dispute", "amount": 4990, "currency": "eur", "status": "needs_response",
        "reason": "fraudulent", "payment_intent": "{{payment}}",
    }},
}  # fmt: skip
_UNHANDLED: Final = {
    **_STRIPE,
    "id": "{{stripeEvent}}_2",
    "type": "product.created",
    "data": {"object": {"id": "prod_{{run}}", "object": "product"}},
}
_LEAD: Final = {"partnerId": "{{partnerId}}", "externalLeadId": "lead-{{run}}", "payload": {"name": "Ada"}}
_MAIL: Final = {
    "to": "{{user}}@example.com", "channel": "EMAIL", "template": "invoice-payment-failed",
    "data": {"invoiceId": "in_{{run}}", "amountDue": 4990, "currency": "eur"},
}  # fmt: skip
_RUN: Final = "1Q"
"""The end of every id in a provider's example; each run of the collection puts its own there."""

STRIPE: Final = (
    Step("A payment is expected", "payments_expect", body={"reference": "{{payment}}", "amount": 4990, "currency": "eur"},
         caller="service", check="pm.expect(answer.reconciliation).to.eql('awaited')"),
    Step("A signed event is committed", "stripe", body=_STRIPE, signer="stripe",
         check="pm.expect(answer).to.include({received: true, duplicate: false})", keep={"event": "id"}),
    Step("The same event is a duplicate", "stripe", body=_STRIPE, signer="stripe",
         check="pm.expect(answer).to.include({duplicate: true, id: pm.collectionVariables.get('event')})"),
    Step("An event that nobody handles is stored", "stripe", body=_UNHANDLED, signer="stripe",
         check="pm.expect(answer.ignored).to.eql(true)"),
    Step("A wrong signature is refused", "stripe", (401,), _STRIPE, "wrong", check=_refused("signature_wrong")),
    Step("An old signature is refused", "stripe", (401,), _STRIPE, "old", check=_refused("timestamp_too_old")),
    Step("No signature is refused", "stripe", (401,), _STRIPE, check=_refused("signature_missing")),
    Step("What is no JSON is refused", "stripe", (400,), "{", "stripe", check=_refused("body_not_json")),
    Step("What does not say that it is JSON is refused", "stripe", (415,), _STRIPE, "stripe",
         headers={"Content-Type": "text/plain"}, check=_refused("content_type_not_json")),
    Step("What is too large is refused", "stripe", (413,), '{"x": "' + "{{large}}" + '"}', "stripe",
         check=_refused("body_too_large")),
    Step("The payment has its state", "admin_payment", caller="admin", ids={"id": "{{payment}}"},
         until="answer.status === 'succeeded'",
         check="pm.expect(answer).to.include({amount: 4990, currency: 'eur', reconciliation: 'matched', version: 1})"),
    Step("A refund has failed", "stripe", body=_REFUND_FAILED, signer="stripe"),
    Step("The refund has its state", "admin_refund", caller="admin", ids={"id": "re_{{run}}"},
         until="answer.status === 'failed'", check="pm.expect(answer.paymentId).to.eql(pm.collectionVariables.get('payment'))"),
    Step("The payment is disputed", "stripe", body=_DISPUTED, signer="stripe"),
    Step("The dispute has its state", "admin_dispute", caller="admin", ids={"id": "du_{{run}}"},
         until="answer.status === 'needs_response'", check="pm.expect(answer.reason).to.eql('fraudulent')"),
    Step("The payment shows both", "admin_payment", caller="admin", ids={"id": "{{payment}}"},
         check="pm.expect([answer.refunds.length, answer.disputes.length, answer.amountRefunded]).to.eql([1, 1, 0])"),
    Step("Nobody knows this subscription", "admin_subscription", (404,), caller="admin", ids={"id": "sub_{{run}}"},
         check=_refused("not_found")),
    Step("Nobody knows this invoice", "admin_invoice", (404,), caller="admin", ids={"id": "in_{{run}}"},
         check=_refused("not_found")),
)  # fmt: skip


def _steps_of(provider: Provider) -> tuple[Step, ...]:
    """The steps of a provider's route: the example of its record signed, sent again, and unsigned."""
    name, id_header = provider.name, provider.event_id_header
    body: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(provider.example).replace(_RUN.encode(), b"{{run}}"))
    headers, others = [{id_header: f"{word}-{{{{run}}}}"} if id_header else {} for word in ("event", "another")]
    again = "The same body under another id is a duplicate" if id_header else "The same event is a duplicate"
    return (
        Step("A signed event is committed", name, body=body, signer=name, headers=headers,
             check="pm.expect(answer).to.include({received: true, duplicate: false})"),
        Step(again, name, body=body, signer=name, headers=others, check="pm.expect(answer.duplicate).to.eql(true)"),
        Step("No signature is refused", name, (401,), body, headers=headers, check=_refused("signature_missing")),
    )  # fmt: skip


PARTNERS: Final = (
    Step("A signed lead is committed", "partner", (202,), _LEAD, "partner", headers={"Idempotency-Key": "lead-{{run}}"},
         check="pm.expect(answer.accepted).to.eql(true)", keep={"lead": "id"}),
    Step("The same lead, its body signed, has the same id", "partner", (200,), _LEAD, "partnerBody",
         check="pm.expect(answer.id).to.eql(pm.collectionVariables.get('lead'))"),
    Step("The key with another lead is refused", "partner", (409,), {**_LEAD, "externalLeadId": "other-{{run}}"}, "partner",
         headers={"Idempotency-Key": "lead-{{run}}"}, check=_refused("idempotency_key_reused")),
    Step("An unknown partner is refused like a wrong signature", "partner", (401,), {**_LEAD, "partnerId": "nobody"}, "partner",
         check=_refused("signature_wrong")),
    Step("A wrong token is refused", "partner", (401,), _LEAD, headers={"Authorization": "Bearer wrong"},
         check=_refused("token_wrong")),
    Step("The lead is delivered", "admin_lead", caller="admin", ids={"id": "{{lead}}"}, until="answer.status === 'delivered'",
         check="pm.expect(answer.attempts[0].status).to.be.within(200, 299)"),
    Step("The attempt was made", "leads_deliver", (200, 202), {"leadId": "{{lead}}", "partnerId": "{{partnerId}}", "attempt": 1},
         caller="service", check="pm.expect(answer.delivered || answer.accepted).to.eql(true)"),
)  # fmt: skip

SERVICES: Final = (
    Step("A document is to be searchable", "search_index", (202,), {"index": "properties", "id": "p-{{run}}", "op": "upsert",
         "doc": {"title": "Two rooms"}}, caller="service", keep={"task": "taskId"}),
    Step("It is", "task", caller="service", ids={"taskId": "{{task}}"}, until="answer.status === 'done'"),
    Step("There is no such index", "search_index", (422,), {"index": "none", "id": "1", "op": "delete"}, caller="service",
         check=_refused("index_unknown")),
    Step("Keys are out of date", "cache_invalidate", (200, 202), {"keys": ["user:{{run}}"], "patterns": ["list:{{run}}:*"]},
         caller="service", headers={"Idempotency-Key": "cache-{{run}}"}),
    Step("The same call again has the same answer", "cache_invalidate", (200, 202),
         {"keys": ["user:{{run}}"], "patterns": ["list:{{run}}:*"]}, caller="service",
         headers={"Idempotency-Key": "cache-{{run}}"}, check="pm.response.to.have.header('Idempotent-Replayed')"),
    Step("The key for another call is refused", "cache_invalidate", (409,), {"keys": ["user:other"]}, caller="service",
         headers={"Idempotency-Key": "cache-{{run}}"}, check=_refused("idempotency_key_reused")),
    Step("A user can be reached", "contact_put", body={"email": "{{user}}@example.com"}, caller="service",
         ids={"userId": "{{user}}"}),
    Step("By POST too", "contact_post", body={"email": "{{user}}@example.com"}, caller="service", ids={"userId": "{{user}}"}),
    Step("So it is known", "contact", caller="service", ids={"userId": "{{user}}"},
         check="pm.expect(answer.email).to.eql(pm.collectionVariables.get('user') + '@example.com')"),
    Step("A notification is enqueued", "notifications_send", (202,), _MAIL, caller="service", keep={"notification": "id"}),
    Step("It is sent", "admin_notification", caller="admin", ids={"id": "{{notification}}"}, until="answer.status === 'sent'"),
    Step("Data of the template is missing", "notifications_send", (422,), {**_MAIL, "data": {}}, caller="service",
         check="pm.expect(answer.fields).to.include('invoiceId')"),
    Step("A key is set", "config_change", body={"key": "postman.{{run}}", "value": 1, "expectedVersion": 0}, caller="admin",
         check="pm.expect(answer.version).to.eql(1)"),
    Step("By who decided on an older version it is not", "config_change", (409,),
         {"key": "postman.{{run}}", "value": 2, "expectedVersion": 0}, caller="admin", check=_refused("version_stale")),
    Step("By a service it is not", "config_change", (403,), {"key": "postman.{{run}}", "value": 2}, caller="service",
         check=_refused("admin_token_needed")),
    Step("It stands", "config", caller="service", query={"key": "postman.{{run}}"}, check="pm.expect(answer.value).to.eql(1)"),
    Step("Its changes are known", "config_history", caller="admin", query={"key": "postman.{{run}}"}),
    Step("Nobody is served without a token", "config", (401,), check=_refused("token_missing")),
)  # fmt: skip

OPERATORS: Final = (
    Step("The delivery log, newest first", "admin_deliveries", caller="admin", query={"source": "stripe", "outcome": "accepted"},
         check="pm.expect(answer.items.map(item => item.id)).to.include(pm.collectionVariables.get('event'))"),
    Step("One delivery and its journey", "admin_delivery", caller="admin", ids={"id": "{{event}}"},
         check="pm.expect(answer.journey.event.topic).to.eql('webhooks.stripe')"),
    Step("Its body, byte for byte", "admin_body", caller="admin", ids={"id": "{{event}}"}),
    Step("Why it was refused: it was not", "admin_explanation", caller="admin", ids={"id": "{{event}}"},
         check="pm.expect(answer.cause).to.eql('not_rejected')"),
    Step("What a replay would do", "admin_replay_begin", body={"ids": ["{{event}}"], "dryRun": True}, caller="admin",
         check="pm.expect(answer.matched).to.eql(1)"),
    Step("A replay", "admin_replay_begin", (202,), {"ids": ["{{event}}"], "reason": "tried by Postman"}, caller="admin",
         keep={"replay": "replayId"}),
    Step("It changes nothing", "admin_replay", caller="admin", ids={"replayId": "{{replay}}"}, until="answer.state === 'done'",
         check="pm.expect(answer.unchanged).to.eql(1)"),
    Step("All replays", "admin_replays", caller="admin"),
    Step("What it is made of", "admin_replay_items", caller="admin", ids={"replayId": "{{replay}}"}),
    Step("What has ended cannot be called off", "admin_replay_cancel", (409,), caller="admin", ids={"replayId": "{{replay}}"},
         check=_refused("replay_ended")),
    Step("The ledger", "admin_ledger", caller="admin", check="pm.expect(answer.balanced).to.eql(true)"),
    Step("What was set aside", "admin_dead_letters", caller="admin"),
    Step("Nobody knows this dead letter", "admin_dead_letter", (404,), caller="admin", ids={"id": "{{event}}"}),
    Step("So it cannot be retried", "admin_dead_letter_retry", (404,), caller="admin", ids={"id": "{{event}}"}),
    Step("Nor discarded", "admin_dead_letter_discard", (404,), {"reason": "tried"}, caller="admin", ids={"id": "{{event}}"}),
    Step("What an erasure would erase", "admin_erase", body={"kind": "payment", "id": "{{payment}}", "reason": "tried",
         "dryRun": True}, caller="admin", check="pm.expect(answer.wouldErase).to.be.an('object')"),
    Step("All erasures", "admin_erasures", caller="admin"),
    Step("Nobody knows this erasure", "admin_erasure", (404,), caller="admin", ids={"id": "{{event}}"}),
    Step("The topology", "admin_topology", caller="admin"),
    Step("Secrets, by their public ids", "admin_secrets", caller="admin"),
    Step("Who called what", "admin_audit", caller="admin", query={"limit": "5"}),
    Step("A service is no operator", "admin_audit", (403,), caller="service", check=_refused("admin_token_needed")),
)  # fmt: skip

PROCESS: Final = (
    Step("It lives", "live", check="pm.expect(answer.live).to.eql(true)"),
    Step("It can take webhooks", "ready", check="pm.expect(answer.ready).to.eql(true)"),
    Step("What it counts", "metrics"),
    Step("Its contract", "openapi", check="pm.expect(answer.openapi).to.eql('3.1.0')"),
)

FOLDERS: Final[Mapping[str, tuple[Step, ...]]] = {
    "Process": PROCESS,
    "Stripe": STRIPE,
    **{provider.title: _steps_of(provider) for provider in providers() if provider.name != "stripe"},
    "Partners": PARTNERS,
    "Services": SERVICES,
    "Operators": OPERATORS,
}
