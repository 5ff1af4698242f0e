"""The versions of searchable documents, from which each change gets the next one."""

from collections.abc import Sequence
from typing import Final

from psycopg import AsyncConnection

_NEXT: Final = """
insert into search_documents as d (index_name, id, version) values (%(index)s, %(id)s, coalesce(%(version)s::bigint, 1))
on conflict (index_name, id) do update set version = greatest(d.version, coalesce(%(version)s::bigint, d.version + 1))
returning version
"""


_RAISE: Final = """
insert into search_documents as d (index_name, id, version)
select %s::text, id, max(version) from unnest(%s::text[], %s::int8[]) as t(id, version) group by id order by id
on conflict (index_name, id) do update set version = greatest(d.version, excluded.version)
"""


async def raise_versions(connection: AsyncConnection, index: str, versions: Sequence[tuple[str, int]]) -> None:
    """Raise the versions of documents, given as pairs of id and version, so that no document gets a version twice."""
    await connection.execute(_RAISE, (index, [each for each, _ in versions], [version for _, version in versions]))


async def take_version(connection: AsyncConnection, index: str, document_id: str, given: int | None) -> int:
    """
    Return the version of a change to a document: the given one, or else the highest so far plus one.

    The document stays locked until the open transaction ends, so that appended events keep the order of its versions.
    """
    cursor = await connection.execute(_NEXT, {"index": index, "id": document_id, "version": given})
    highest: int = (await cursor.fetchall())[0][0]
    return highest if given is None else given
