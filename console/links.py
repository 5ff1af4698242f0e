"""The pages of the console, by the kind of thing that they show."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

_PAGES: Final[Mapping[str, str]] = {
    "payment": "money/payments",
    "refund": "money/refunds",
    "dispute": "money/disputes",
    "subscription": "money/subscriptions",
    "invoice": "money/invoices",
    "notification": "notifications",
    "contact": "notifications/contacts",
    "delivery": "deliveries",
    "deadLetter": "dead-letters",
    **dict.fromkeys(("event", "task"), "journey"),
    "lead": "leads",
    "attempt": "leads",
    "partner": "partners",
    "replay": "replays",
}
"""Paths below `/console`. A task has the page of an event, since it is the event of a command."""


def page_of(kind: str, id: object) -> str:  # noqa: A002  # it is an id
    """Return the path of the page of a thing; empty if it has none."""
    return f"/console/{_PAGES[kind]}/{quote(str(id), safe='')}" if kind in _PAGES else ""


_ALERTS: Final = {
    "signature_failures": "/console/deliveries?outcome=rejected",
    "partner_failing": "/console/partners?state=failing",
    "dead_letters": "/console/dead-letters",
    "webhooks_unsettled": "/console/streams",
    "records_lost": "/console/streams",
    "retention_behind": "/console/settings",
    "config_ignored": "/console/settings/config",
}


def page_of_alert(alert: str) -> str:
    """Return the path of the screen that shows the subject of an alert; empty if there is none."""
    return _ALERTS.get(alert, "")
