"""The state of a payment or an invoice without the address of who paid."""

import msgspec


def without_contact(state: bytes) -> bytes:
    """All else stays, byte for byte: a state that is made anew without its contact is the same."""
    told = msgspec.json.decode(state)
    told.pop("contact", None)
    return msgspec.json.encode(told)
