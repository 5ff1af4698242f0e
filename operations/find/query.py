"""The query of the search, which is the same over HTTP, at a shell and in the console."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway.paging import LIMIT_DEFAULT, LIMIT_MAX
from schemas.text import Id

Kind = Literal[
    "delivery", "event", "payment", "refund", "dispute", "subscription", "invoice", "lead", "notification", "deadLetter",
    "replay", "erasure", "task", "contact",
]  # fmt: skip


class FindQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The id that is searched for."""

    q: Annotated[
        Id,
        Meta(
            description="An id of any kind: of an event, a delivery, a trace, a payment, a lead (ours or the partner's), a "
            "notification, a task, a user, or an e-mail address."
        ),
    ]
    limit: Annotated[
        int, Meta(ge=1, le=LIMIT_MAX), Meta(description=f"The maximum number of findings; {LIMIT_DEFAULT} by default.")
    ] = LIMIT_DEFAULT
