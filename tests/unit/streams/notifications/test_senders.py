"""The parts of a mail."""

from __future__ import annotations

import gc
from email.headerregistry import Address
from typing import Final

from streams.notifications.mails import Message, mail_of
from streams.notifications.senders import recipient_of
from streams.notifications.texts import Text

MAILS: Final = 300
SHOP: Final = Address("Shop", addr_spec="shop@example.com")
TEXT: Final = Text("It has arrived: 29.90 €", "Your payment", "<p>It has arrived: 29.90 €</p>")


def test_many_mails_leave_next_to_nothing_that_only_the_garbage_collector_frees() -> None:
    """Such garbage stays in memory until then: Python's own headers left 81 objects a mail, and the worker's memory grew."""
    gc.collect()
    gc.disable()
    try:
        for number in range(MAILS):
            message = Message(f"<{number}@test>", f"{number}@example.com", TEXT)
            mail_of(message, SHOP, recipient_of(message.address))
        left = gc.collect()
    finally:
        gc.enable()
    assert left < 5 * MAILS
