"""A delivery that is verified again affects no other one, whatever the verification raises."""

from __future__ import annotations

import pytest

from gateway.webhooks.sources.live import LiveSource
from gateway.webhooks.sources.stripe import STRIPE
from operations.webhook_replay.store import StoredDelivery
from operations.webhook_replay.verification import NotRecovered, verify_again
from runtime.ids import new_id


@pytest.mark.parametrize("step", ["verify", "translate"])
@pytest.mark.parametrize("error", [RuntimeError("surprise"), RecursionError(), OverflowError(), KeyError("created")])
def test_a_surprise_in_judging_is_that_deliverys_failure(step: str, error: Exception) -> None:
    def fail(*_: object) -> object:
        raise error

    source = STRIPE._replace(**{"verify": lambda *_: _Secret(), step: fail})
    refused = StoredDelivery(new_id(), "stripe", "signature_wrong", "0" * 32, {}, b"{}", None)
    with pytest.raises(NotRecovered) as caught:
        verify_again({"stripe": LiveSource(source, ())}, refused)
    assert caught.value.reason == "internal_error"


class _Secret:
    id = "00000000"
