"""An answer of Stripe that is nested too deeply gives a reason or one unreadable object, and no traceback."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast

import pytest

from operations.backfill.stripe_api import StripeApiError, _listed, call_with_retries
from operations.errors import Reason
from operations.reconcile.lists import Found, StripeLists
from operations.reconcile.run import Options, Report, _Work
from operations.reconcile.sides import COMPARED

if TYPE_CHECKING:
    from collections.abc import Callable

NOW: Final = datetime.now(UTC)
DEEP: Final = "[" * 100_000 + "]" * 100_000  # the limit of levels depends on the version of Python
OBJECT: Final = f'{{"id": "pi_1", "latest_charge": {DEEP}}}'
PAGE: Final = f'{{"data": [{OBJECT}]}}'


def lists(monkeypatch: pytest.MonkeyPatch, body: str) -> StripeLists:
    """A client that gets this answer; the SDK parses each answer first, with a different limit."""
    client = StripeLists("rk_test_1", "http://127.0.0.1:1", sleep=lambda _: None)
    monkeypatch.setattr(client._client, "raw_request", lambda *_, **__: SimpleNamespace(body=body, headers={}))
    return client


@pytest.mark.parametrize(
    "read",
    [
        lambda _: call_with_retries(lambda: json.loads(DEEP)),
        lambda _: _listed(cast("Any", SimpleNamespace(last_response=SimpleNamespace(body=PAGE)))),
        lambda patch: next(lists(patch, PAGE).pages("payment_intent", NOW, NOW)),
        lambda patch: lists(patch, OBJECT).one("payment_intent", "pi_1"),
    ],
    ids=["the SDK", "a list of events", "a list of objects", "one object"],
)
def test_it_is_an_answer_that_failed(read: Callable[[pytest.MonkeyPatch], object], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StripeApiError) as caught:
        read(monkeypatch)
    assert caught.value.reason is Reason.STRIPE_FAILED
    assert len(str(caught.value)) < 200


async def test_an_object_that_is_compared_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    report = Report(since=NOW, until=NOW, apply=False)
    [compared] = [each for each in COMPARED if each.kind == "payment_intent"]
    work = _Work(cast("Any", None), lists(monkeypatch, ""), Options(NOW, NOW), report, lambda _: None)
    assert await work._theirs(compared, Found("payment_intent", "pi_1", None, OBJECT.encode(), 0, None)) is None
    assert [(each.id, each.what) for each in report.differences] == [("pi_1", "unreadable")]
