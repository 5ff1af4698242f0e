"""The preview of a replay, which changes nothing."""

import asyncio
from collections import Counter
from typing import Final

import msgspec
from psycopg import AsyncConnection

from operations.webhook_replay import jobs
from operations.webhook_replay import store as work
from operations.webhook_replay.filters import Filters
from operations.webhook_replay.jobs import Group
from operations.webhook_replay.verification import NotRecovered, Sources, verify_again
from schemas.endpoints import place_of

CHECKED_MAX: Final = 1000  # rejected deliveries; their bodies are read and their signatures computed
_BATCH: Final = 50


class Rejections(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Rejected deliveries, verified again."""

    matched: int  #: Number of rejected deliveries that match.
    checked: int  #: Number of those that were verified again, oldest first.
    recoverable: int  #: Number of those that the current secrets verify.
    still_refused: dict[str, int]  #: Number of those that are still refused, by reason.


class Preview(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The deliveries that a replay would send again; returned with `dryRun`, when nothing is changed."""

    dry_run: bool = True  #: Always true.
    matched: int  #: Deliveries that match: the sum of `unchanged`, `unprocessed`, `deadLettered` and `rejected.matched`.
    unchanged: int  #: Number of deliveries that have had their effects, or go to no worker.
    unprocessed: int  #: Number of deliveries that have not had their effects; a replay would cause them.
    dead_lettered: int  #: Number of deliveries that are open dead letters: they would fail. Retry their dead letters instead.
    rejected: Rejections  #: The rejected deliveries.
    groups: list[Group]  #: The matched deliveries by kind.


async def preview(connection: AsyncConnection, filters: Filters, sources: Sources | None) -> Preview:
    """
    Count the matching deliveries in the caller's transaction; without sources no signature is verified.

    Raises OperationError.
    """
    groups = await jobs.preview(connection, filters)
    taken = [group for group in groups if group.outcome != "rejected"]
    rejected = [group for group in groups if group.outcome == "rejected"]
    unchanged = sum(group.marked for group in groups)
    unchanged += sum(
        group.count - group.marked - group.dead_lettered for group in taken if sources and _is_ignored(group, sources)
    )
    refused = sum(group.count - group.marked for group in rejected)
    dead_lettered = sum(group.dead_lettered for group in groups)
    matched = sum(group.count for group in groups)
    return Preview(
        matched=matched,
        unchanged=unchanged,
        unprocessed=matched - unchanged - dead_lettered - refused,
        dead_lettered=dead_lettered,
        rejected=await _judge(connection, filters, sources, refused),
        groups=groups,
    )


def _is_ignored(group: Group, sources: Sources) -> bool:
    live = sources.get(place_of(group.source, group.endpoint))
    return live is not None and live.source.ignores(group.type, group.livemode) is not None


async def _judge(connection: AsyncConnection, filters: Filters, sources: Sources | None, matched: int) -> Rejections:
    ids = await jobs.refused(connection, filters, CHECKED_MAX) if matched and sources else []
    still: Counter[str] = Counter()
    for portion in await work.portions(connection, ids, _BATCH):
        for refused in (await work.refused(connection, portion)).values():
            try:
                verify_again(sources or {}, refused)
            except NotRecovered as error:
                still[error.reason] += 1
            await asyncio.sleep(0)
    return Rejections(matched=matched, checked=len(ids), recoverable=len(ids) - still.total(), still_refused=dict(still))
