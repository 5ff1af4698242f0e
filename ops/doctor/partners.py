"""Examines the partners of the database: those that the settings override, and those whose secrets cannot be opened here."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg

from ops.doctor.findings import fail, warn
from ops.doctor.settings import SECRETS, address_in
from ops.doctor.store import LIMIT
from projections.partner_store import PARTNERS
from runtime.endpoints import check_database
from runtime.seals import SealError, Seals
from runtime.sessions import connect_async
from runtime.settings import SettingsError
from schemas.partners import PartnerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ops.doctor.findings import Finding
    from projections.partner_store import PartnerRow


def check_partners(environ: Mapping[str, str]) -> list[Finding]:
    """Report each partner of the database that one of the settings overrides, or that no key of SECRET_KEYS opens."""
    url = address_in(environ, "DATABASE_URL", check_database)
    try:
        settings = PartnerSettings.load(environ)
        return list(findings_of(asyncio.run(_read(url)), settings)) if url else []
    except (psycopg.Error, SettingsError):
        return []  # reported by the examinations of Postgres and of the settings


async def _read(url: str) -> Sequence[PartnerRow]:
    async with await connect_async(url, name="doctor", statement=LIMIT) as connection:
        return await PARTNERS.read_all(connection)


def findings_of(rows: Sequence[PartnerRow], settings: PartnerSettings) -> Iterator[Finding]:
    """Report the faults of these partners of the database, given those of the settings."""
    seals = Seals(settings.secret_keys)
    for row in rows:
        if row.id in settings.partners:
            act = (
                f"remove PARTNER_{row.id}_… from the settings, to use the one of the database, or run `tallyhook partners remove`"
            )
            text = f"partner {row.id} is in the settings and in the database; the one in the database is ignored"
            yield warn(SECRETS, text, act, "rotate-secrets")
            continue
        try:
            PARTNERS.open(row, seals)
        except SealError as error:
            act = "put that key into SECRET_KEYS again; its leads are refused with 503 and held back until then"
            yield fail(SECRETS, f"the secrets of partner {row.id} cannot be opened: {error}", act, "rotate-secrets")
