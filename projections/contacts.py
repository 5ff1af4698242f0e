"""The addresses of users, and the channels that they have switched off."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import class_row

from schemas.operations import Channel
from schemas.text import Email, LocaleTag, Phone, PushToken


class Reach(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The addresses and preferences of a user; a field that is left out is forgotten."""

    email: Email | None = None  #: The mail address; absent or null if there is none.
    phone: Phone | None = None  #: The telephone number in E.164.
    push: PushToken | None = None  #: The device token of the push service.
    opt_outs: list[Channel] = []  #: Channels over which the user accepts no messages.
    locale: LocaleTag | None = None  #: BCP 47 tag, such as `de-CH`; it decides the format of amounts in messages.
    user_id: str | None = None  #: Ignored, so that a contact that was read can be sent back: the path names the user.
    updated_at: str | None = None  #: Ignored likewise.


class Contact(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The contact of the user."""

    user_id: str  #: Your id of the user.
    opt_outs: list[Channel]  #: Channels over which the user accepts no messages.
    updated_at: datetime  #: When the contact was last set.
    email: str | None = None  #: The mail address; absent if unknown.
    phone: str | None = None  #: The telephone number in E.164; absent if unknown.
    push: str | None = None  #: The device token of the push service; absent if unknown.
    locale: str | None = None  #: BCP 47 tag; absent if unknown.

    def address(self, channel: Channel) -> str | None:
        return {"EMAIL": self.email, "SMS": self.phone, "PUSH": self.push}[channel]


_COLUMNS: Final = "user_id, email, phone, push, opt_outs, updated_at, locale"
_PUT: Final = f"""
insert into contacts (user_id, email, phone, push, opt_outs, locale) values (%s, %s, %s, %s, %s, %s)
on conflict (user_id) do update set email = excluded.email, phone = excluded.phone, push = excluded.push,
  opt_outs = excluded.opt_outs, locale = excluded.locale, updated_at = now()
returning {_COLUMNS}
"""
_FIND: Final = f"""
select {_COLUMNS} from contacts
where user_id = any(%(names)s) or email = any(%(names)s) or phone = any(%(names)s) or push = any(%(names)s)
order by user_id
"""


async def put(connection: AsyncConnection, user_id: str, reach: Reach) -> Contact:
    """Store the addresses of the user, in place of the former ones."""
    opt_outs: list[str] = sorted(set(reach.opt_outs))
    cursor = connection.cursor(row_factory=class_row(Contact))
    await cursor.execute(_PUT, (user_id, reach.email, reach.phone, reach.push, opt_outs, reach.locale))
    return (await cursor.fetchall())[0]


async def read(connection: AsyncConnection, user_id: str) -> Contact | None:
    cursor = connection.cursor(row_factory=class_row(Contact))
    await cursor.execute(f"select {_COLUMNS} from contacts where user_id = %s", (user_id,))
    return await cursor.fetchone()


async def find(connection: AsyncConnection, names: Sequence[str]) -> list[Contact]:
    """Read every contact whose user id or one of whose addresses is among the names."""
    cursor = connection.cursor(row_factory=class_row(Contact))
    await cursor.execute(_FIND, {"names": list(names)})
    return await cursor.fetchall()
