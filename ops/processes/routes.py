"""Every route, by listener: `ops/processes/applications.py` serves them, and the published contract is made from them."""

from typing import Final

from gateway import health
from gateway.commands import acceptance, cache, config, contacts, leads, notifications, payments, search
from gateway.commands.acceptance import CommandsAccepted
from gateway.errors import Reason
from gateway.route import KEY, PARTNER_SIGNATURE, PARTNER_TOKEN, PROVIDER_SIGNATURES, SCHEMA_REASONS, Parameter, Route
from gateway.webhooks import endpoints, reception
from gateway.webhooks.leads import LeadsAccepted
from ops.processes.admin_routes import ADMIN
from outbox.tasks import Task
from projections.config import ConfigEntry
from projections.contacts import Contact, Reach
from schemas.leads import DeliverLead, LeadReceived
from schemas.providers import Provider, providers
from schemas.text import Line, WordOrNone

_TEXT: Final = "text/plain"

_ABSENT: Final = frozenset({Reason.NOT_FOUND})
_OF_WEBHOOKS: Final = SCHEMA_REASONS | frozenset(
    {
        Reason.SIGNATURE_MALFORMED,
        Reason.BODY_NOT_JSON,
        Reason.BODY_NOT_UTF8,
        Reason.EVENT_MALFORMED,
        Reason.EVENT_UNSTORABLE,
        Reason.SIGNATURE_MISSING,
        Reason.SIGNATURE_WRONG,
        Reason.BODY_TOO_SLOW,
        Reason.BODY_TOO_LARGE,
        Reason.CONTENT_TYPE_NOT_JSON,
        Reason.RATE_LIMITED,
        Reason.POSTGRES_UNAVAILABLE,
        Reason.PARTITION_MISSING,
        Reason.INTAKE_FULL,
        Reason.STOPPING,
    }
)
_OF_TIMES: Final = frozenset({Reason.SIGNATURE_SCHEME_UNKNOWN, Reason.TIMESTAMP_TOO_OLD, Reason.TIMESTAMP_IN_FUTURE})
_OF_ADDRESSES: Final = frozenset({Reason.ADDRESS_INVALID})
_OF_TEMPLATES: Final = frozenset(
    {
        Reason.CHANNEL_UNKNOWN,
        Reason.ADDRESS_INVALID,
        Reason.TEMPLATE_UNKNOWN,
        Reason.TEMPLATE_CHANNEL_UNKNOWN,
        Reason.DATA_MISSING,
        Reason.DATA_INVALID,
    }
)

_OF_READINESS: Final = SCHEMA_REASONS | {
    Reason.POSTGRES_UNAVAILABLE,
    Reason.PARTITION_MISSING,
    Reason.CLOCK_SKEWED,
    Reason.STOPPING,
    Reason.LOOP_HUNG,
}
_OF_LIFE: Final = frozenset({Reason.LOOP_HUNG})

HEALTH: Final = (
    Route("GET", "/health/live", "live", health.live, {200: health.Live}, refuses=_OF_LIFE),
    Route("GET", "/health/ready", "ready", health.ready, {200: health.Ready}, refuses=_OF_READINESS),
)


def _webhooks(provider: Provider) -> Route:
    """The route of a provider's webhooks."""
    records = tuple(message.record for message in provider.messages)
    event_id = (provider.event_id_header,) if provider.event_id_header else ()
    unsigned = "The event's id; without it a duplicate is recognized by its body."
    return Route(
        "POST",
        provider.path,
        provider.name,
        reception.receive,
        {200: reception.Acknowledged},
        body=records if len(records) > 1 else records[0],
        proofs=(PROVIDER_SIGNATURES[provider.name],),
        headers=tuple(Parameter(name, WordOrNone, unsigned) for name in event_id),
        refuses=_OF_WEBHOOKS | (_OF_TIMES if provider.signature.timed else frozenset()),
        description=provider.description,
    )


def _endpoints(provider: Provider) -> Route:
    """The route of a provider's endpoints, which differs from the plain one in its secrets."""
    plain = _webhooks(provider)
    text = (
        f"Receive events of {provider.title} by one of several endpoints.\n\n"
        "Each endpoint has its own secrets, mode and label (`/v1/admin/endpoints`). The same event by two of them, or by "
        f"one and the plain path, is one event. Otherwise it is as `{provider.path}`."
    )
    return plain._replace(
        path=f"{provider.path}/{{endpoint}}",
        name=f"{provider.name}_endpoint",
        handler=endpoints.receive,
        source=provider.name,
        refuses=plain.refuses | {Reason.ENDPOINT_UNKNOWN},
        id_refusal=Reason.ENDPOINT_UNKNOWN,
        id_text="The id of the endpoint.",
        description=text,
    )


WEBHOOKS: Final = (
    *(_webhooks(provider) for provider in providers()),
    *(_endpoints(provider) for provider in providers()),
    Route(
        "POST", "/v1/webhooks/partner/leads", "partner", reception.receive, {200: LeadsAccepted, 202: LeadsAccepted},
        body=LeadReceived, proofs=(PARTNER_SIGNATURE, PARTNER_TOKEN), headers=(KEY,),
        refuses=_OF_WEBHOOKS | _OF_TIMES | {Reason.TOKEN_WRONG, Reason.IDEMPOTENCY_KEY_REUSED},
        description="Receive a lead from a partner.\n\nThe answer is sent after the commit. The same lead again, by the "
        "partner's id of it, gets the same id.",
        answer_texts={200: "The lead was committed by an earlier call, whose id this is."},
    ),
)  # fmt: skip

COMMANDS: Final = (
    Route(
        "POST", "/internal/v1/search/index", "search_index", search.index, {202: CommandsAccepted},
        role="service", body=search.ChangeDocument, refuses=frozenset({Reason.INDEX_UNKNOWN}),
    ),
    Route(
        "POST", "/internal/v1/cache/invalidate", "cache_invalidate", cache.invalidate,
        {200: cache.Invalidated, 202: CommandsAccepted},
        role="service", body=cache.Invalidate, refuses=frozenset({Reason.PATTERN_TOO_BROAD}),
    ),
    Route(
        "POST", "/internal/v1/notifications/send", "notifications_send", notifications.send, {202: notifications.Enqueued},
        role="service", body=notifications.Send, refuses=_OF_TEMPLATES,
    ),
    Route(
        "POST", "/internal/v1/leads/deliver", "leads_deliver", leads.deliver, {200: leads.Attempted, 202: leads.Deferred},
        role="service", body=DeliverLead, refuses=_ABSENT,
    ),
    Route(
        "POST", "/internal/v1/payments/expect", "payments_expect", payments.expect, {200: payments.Expected},
        role="service", body=payments.ExpectPayment, refuses=frozenset({Reason.EXPECTATION_SETTLED}),
    ),
    Route(
        "GET", "/internal/v1/config", "config", config.show, {200: (ConfigEntry, config.Entries)},
        role="service", query=config.ConfigQuery, refuses=_ABSENT,
        answer_texts={200: "The key, or without `key` every key that was ever set."},
    ),
    Route(
        "GET", "/internal/v1/config/history", "config_history", config.history, {200: config.History},
        role="admin", query=config.HistoryQuery,
    ),
    Route(
        "POST", "/internal/v1/config", "config_change", config.change, {200: config.Changed},
        role="admin", body=config.ChangeConfig,
        refuses=frozenset({Reason.VERSION_STALE, Reason.CONFIG_KEY_UNKNOWN, Reason.CONFIG_VALUE_INVALID}),
        description=config.ABOUT,
    ),
    Route(
        "GET", "/internal/v1/contacts/{userId}", "contact", contacts.contact, {200: Contact},
        role="service", refuses=_ABSENT, id_type=Line, id_refusal=Reason.FIELD_INVALID, id_text="Your id of the user.",
        personal=frozenset({"email", "phone", "push"}),
    ),
    Route(
        "PUT", "/internal/v1/contacts/{userId}", "contact_put", contacts.put, {200: Contact},
        role="service", body=Reach, id_type=Line, id_refusal=Reason.FIELD_INVALID,
        id_text="Your id of the user.", refuses=_OF_ADDRESSES,
    ),
    Route(
        "POST", "/internal/v1/contacts/{userId}", "contact_post", contacts.put, {200: Contact},
        description="Set the contact of a user, for clients that cannot send PUT.\n\nThe operation is the same as with PUT.",
        role="service", body=Reach, id_type=Line, id_refusal=Reason.FIELD_INVALID,
        id_text="Your id of the user.", refuses=_OF_ADDRESSES,
    ),
    Route(
        "GET", "/internal/v1/tasks/{taskId}", "task", acceptance.task, {200: Task},
        role="service", refuses=_ABSENT, id_text="The task's id.",
    ),
)  # fmt: skip

PROCESS: Final = (
    Route(
        "GET", "/metrics", "metrics", health.metrics, {200: _TEXT},
        refuses=_OF_LIFE, answer_texts={200: "The metrics of the gateway."},
    ),
    Route("GET", "/openapi.json", "openapi", health.contract, {200: "application/json"}, answer_texts={200: "This document."}),
)  # fmt: skip

OWN: Final = (*HEALTH, *PROCESS[:1])
"""The pages that one process of a gateway requests from the others."""
INTERNAL: Final = (*HEALTH, *PROCESS, *COMMANDS, *ADMIN)
