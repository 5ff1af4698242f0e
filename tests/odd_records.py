"""Records of other clients and bad disks: header names that are not UTF-8, and batches that cannot be read."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import aiokafka.codec
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition

from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from runtime.kafka import Cluster

_CRC_AT: Final = 17
_ATTRIBUTES_AT: Final = 21
_NAME: Final = "na@@@@me"
ODD_NAME: Final = b"na\xc3\x28\xff\xfeme"
"""As long as the name that it replaces: no client of these tests can write it."""
ODD_TEXT: Final = r"na\xc3(\xff\xfeme"
CODECS: Final = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


class Odd(NamedTuple):
    """A record; if it is `odd`, its first header has the odd name."""

    value: bytes | None
    odd: bool = True
    key: bytes | None = b"key"
    headers: Sequence[tuple[str, bytes]] = ()


def batch_of(records: Sequence[Odd], codec: str = "none") -> bytes:
    """One batch of records as it goes over the wire."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1_000_000)
    for n, record in enumerate(records):
        headers = [(_NAME, b"\x00\xff")] if record.odd else []
        assert builder.append(n, None, record.key, record.value, [*headers, *record.headers]) is not None
    return sealed(_compressed(bytes(builder.build()).replace(_NAME.encode(), ODD_NAME), codec))


def _compressed(batch: bytes, codec: str) -> bytes:
    if codec == "none":
        return batch
    return (
        batch[:_ATTRIBUTES_AT]
        + struct.pack(">h", CODECS[codec])
        + batch[23:61]
        + getattr(aiokafka.codec, f"{codec}_encode")(batch[61:])
    )


def sealed(batch: bytes) -> bytes:
    """Make length and checksum right."""
    body = batch[_CRC_AT + 4 :]
    return batch[:8] + struct.pack(">i", len(batch) - 12) + batch[12:_CRC_AT] + struct.pack(">I", calc_crc32c(body)) + body


async def write_batch(kafka: Cluster, topic: str, batch: bytes, partition: int = 0) -> None:
    """Have Kafka append a raw batch: the broker checks less than the clients of these tests do."""
    client: Any = AIOKafkaClient(bootstrap_servers=kafka.servers)
    await client.bootstrap()
    try:
        name = kafka.named(topic)
        await client.add_topic(name)

        async def sent() -> bool | None:
            await client.force_metadata_update()
            leader = client.cluster.leader_for_partition(TopicPartition(name, partition))
            answer = await client.send(leader, ProduceRequest(None, -1, 10_000, [(name, [(partition, batch)])]))
            [(_, [(_, code, *_)])] = answer.topics
            return code == 0 or None  # a new topic has no leader for a moment

        await eventually(sent)
    finally:
        await client.close()


def change_batch(partition: Path, offset: int, change: Callable[[bytes], bytes]) -> bytes:
    """Change the batch that begins at an offset where it lies on the broker's disk, which stays as long; returns what it was."""
    [segment] = partition.glob("*.log")
    data = segment.read_bytes()
    at, end = _span_of(data, offset)
    with segment.open("r+b") as file:
        file.seek(at)
        file.write(change(data[at:end]))
    return data[at:end]


def _span_of(data: bytes, offset: int) -> tuple[int, int]:
    at = 0
    while True:
        base, length = struct.unpack_from(">qi", data, at)
        if base == offset:
            return at, at + 12 + length
        at += 12 + length
