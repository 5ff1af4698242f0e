"""The statistics over HTTP."""

from datetime import UTC, datetime

import msgspec
from aiohttp import web

from gateway.answers import answer
from gateway.parameters import query_of
from gateway.postgres import reading
from operations.stats import store
from operations.stats.query import Bucket, Of, StatsQuery
from operations.stats.store import Series


class Stats(msgspec.Struct, frozen=True, rename={"since": "from", "until": "to"}):
    """The figures of the period, in whole buckets."""

    of: Of  #: The requested figures.
    bucket: Bucket  #: The size of a bucket.
    since: datetime  #: The beginning of the first bucket.
    until: datetime  #: The end of the last bucket.
    series: list[Series]  #: The series, the one with the largest numbers first.


async def stats(request: web.Request) -> web.Response:
    """
    Count deliveries, effects, attempts or notifications in buckets of time.

    The figures of `effects` are grouped by the arrival of the event, and their `p50Ms` and `p99Ms` are the time from the
    arrival to the effect; those of `attempts` are the time until the answer of the CRM. Rejected deliveries that were only
    counted are in no bucket.
    """
    query = query_of(request, StatsQuery)
    period = query.period(datetime.now(UTC))
    async with reading(request) as connection:
        found = await store.count(connection, query.of, period, query.name)
    return answer(Stats(query.of, query.bucket, period.begin, period.end, found))
