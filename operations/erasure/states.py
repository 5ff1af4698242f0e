"""The state of a payment or an invoice without the address of who paid."""

import msgspec


def without_contact(state: bytes) -> bytes:
    """All else stays, byte for byte: a state that is made anew without its contact is the same."""
    fields = msgspec.json.decode(state)
    fields.pop("contact", None)
    return msgspec.json.encode(fields)
