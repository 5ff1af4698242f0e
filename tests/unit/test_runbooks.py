"""Every reason of an alert has its runbook page, and the pages name only things that exist."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from console.application import SCREENS_SHOWN
from gateway.errors import Reason
from ops import cli
from outbox import alerts, refusals
from runtime.ids import new_id
from runtime.tracing import new_trace
from schemas.errors import Reason as SchemaReason
from schemas.operations import AlertRaised
from schemas.registry import decode
from streams.errors import FetchReason, PoisonReason
from streams.leads.decisions import Answer, Exhausted, Rejected
from streams.leads.delivery_store import Claimed
from streams.leads.outcomes import Ended, alert_of
from streams.payments.facts import Stamp
from streams.payments.news import alert_of as dispute_alert
from streams.payments.states import DisputeState, Fate

if TYPE_CHECKING:
    import click

ROOT: Final = Path(__file__).parents[2]
INDEX: Final = (ROOT / "runbooks/README.md").read_text()
PAGES: Final = sorted(page for page in (ROOT / "runbooks").glob("*.md") if page.name != "README.md")
CODE: Final = "\n".join(
    path.read_text()
    for package in ("runtime", "outbox", "projections", "gateway", "streams", "operations", "schemas")
    for path in sorted((ROOT / package).rglob("*.py"))
)
SCREENS: Final = "\n".join(path.read_text() for path in sorted((ROOT / "console").rglob("*.html")))
COMMANDS: Final = cli.loaded(*cli.PLACES)

each_page = pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])


def test_every_page_is_in_the_index_and_every_link_leads_somewhere() -> None:
    assert set(re.findall(r"\]\(([a-z-]+\.md)\)", INDEX)) == {page.name for page in PAGES}


def test_every_page_that_the_code_names_exists() -> None:
    named = set(re.findall(r"runbooks/[a-z-]+\.md", CODE + SCREENS))
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@each_page
def test_every_screen_that_a_page_names_exists(page: Path) -> None:
    shapes = [re.sub(r"\{\w+\}", "{}", f"/console{route.path}") for screen in SCREENS_SHOWN for route in screen.routes]
    named = [re.sub(r"\{\w+\}|\$\w+", "{}", path) for path in re.findall(r"`(/console/[^`?]*)", page.read_text())]
    assert [path for path in named if path not in shapes] == []


def test_most_pages_name_a_screen() -> None:
    assert sum("`/console/" in page.read_text() for page in PAGES) > len(PAGES) / 3


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_of_the_gateway_is_in_the_index(reason: Reason) -> None:
    assert f"`{reason}`" in INDEX


def test_every_reason_of_a_dead_letter_or_a_parked_event_is_in_the_index() -> None:
    reasons = {*PoisonReason, *FetchReason, *SchemaReason} | {
        *refusals._RECORD.values(),
        *(each.reason for each in refusals._TOPIC.values()),
    }
    assert sorted(reason for reason in reasons if f"`{reason}`" not in INDEX) == []


def _alerts() -> dict[str, str]:
    """Return the page that each kind of raised alert names."""
    trace, moment = new_trace(), datetime.now(UTC)
    lead = Claimed(new_id(), "ACME", "acme", "crm-1", b"{}", trace.traceparent, moment, attempt=1, failures=0)
    events = [
        refusals.alert_of(new_id(), "said", trace),
        *(alert_of(Ended(lead, Answer(500), decision, moment)) for decision in (Exhausted(), Rejected())),
    ]
    raised = [decode(event.dataschema, event.data) for event in events if event]
    raised.append(
        dispute_alert(
            None, DisputeState(provider="stripe", id="du_1", fate=Fate(Stamp(1, 0, "evt_1"), "needs_response", final=False))
        )
    )
    found = {alert.alert: alert.runbook for alert in raised if isinstance(alert, AlertRaised)}
    return found | {each.alert: each.runbook for each in vars(alerts).values() if isinstance(each, alerts.Condition)}


def test_every_alert_names_a_page_that_the_index_names_for_it() -> None:
    index: dict[str, list[str]] = {}
    for row in INDEX.splitlines():
        for alert in re.findall(r"`([a-z_]+)` \(alert", row):
            index.setdefault(alert, []).extend(re.findall(r"\]\(([a-z-]+\.md)\)", row))
    raised = _alerts()
    assert raised.keys() == index.keys()
    assert {alert: page for alert, page in raised.items() if page.removeprefix("runbooks/") not in index[alert]} == {}


def test_no_alert_is_raised_elsewhere() -> None:
    places = [path for path in sorted(ROOT.glob("[a-z]*/**/*.py")) if "AlertRaised(" in path.read_text()]
    made_in = {str(path.relative_to(ROOT)) for path in places} - {"schemas/operations.py"}
    own = {"outbox/alerts.py", "outbox/refusals.py", "streams/leads/outcomes.py", "streams/payments/news.py"}
    assert {path for path in made_in if not path.startswith(("tests/", "benchmarks/", "dist/"))} == own


@each_page
def test_a_page_goes_from_symptom_to_confirmation(page: Path) -> None:
    assert re.findall(r"^## (.*)$", page.read_text(), re.MULTILINE) == ["Symptom", "Check", "Act", "Confirm"]


@each_page
def test_the_metrics_of_a_page_exist(page: Path) -> None:
    metrics = re.findall(r"`(tallyhook_[a-z_]+)", page.read_text())
    assert [metric for metric in metrics if f'"{metric}"' not in CODE] == []


@each_page
def test_the_commands_of_a_page_exist(page: Path) -> None:
    for words in re.findall(r"^(?:.*`)?tallyhook ([a-z][a-z -]*)", page.read_text(), re.MULTILINE):
        assert _command(words.split()) is not None, words


def _command(words: list[str]) -> click.Command | None:
    """The command that the words begin with; the rest are its arguments."""
    found: click.Command | None = COMMANDS
    while words and hasattr(found, "commands"):
        found, words = found.commands.get(words[0]), words[1:]
    return found
