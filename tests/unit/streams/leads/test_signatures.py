"""A delivery has a signature by each secret, so that the receiver can rotate at any time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from streams.leads.crm import signed_headers

OLD, NEW, OTHER = (f"whsec_{text}" for text in ("b2xkLXNlY3JldA==", "bmV3LXNlY3JldA==", "b3RoZXItc2VjcmV0"))
BODY: Final = b'{"type":"lead.partner.received"}'


@pytest.mark.parametrize("secrets", [(OLD,), (NEW, OLD), (NEW,)])
def test_each_secret_of_the_moment_verifies_by_itself_and_no_other(secrets: tuple[str, ...]) -> None:
    headers = signed_headers("msg_1", BODY, secrets, datetime.now(UTC))
    assert len(headers["webhook-signature"].split(" ")) == len(secrets)
    for secret in secrets:
        Webhook(secret).verify(BODY, headers, json_parse=False)
    for secret in {OLD, NEW, OTHER} - {*secrets}:
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(BODY, headers, json_parse=False)
