"""The report of the command, as data for programs and as text for people."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from operations.offset_replay.differences import Comparison
from operations.offset_replay.live import Outlook, Target
from operations.offset_replay.scan import Count
from operations.offset_replay.shadow import Built
from schemas.topology import group_of

_COUNTS: Final = ("records", "marked", "toProcess", "unreadable")
_HEADS: Final = ("partition", "log", "committed", "from", "records", "marked", "to process", "unreadable")
_VALUE_MAX: Final = 300


def moved(target: Target, outlook: Outlook, effects: str, replay: UUID | None, settled: int) -> dict[str, Any]:
    """Report the moved partitions, or those to move if `replay` is None; `settled` messages got their outcome from the log."""
    partitions = [
        {
            "partition": move.place.partition,
            "begin": move.span.begin,
            "end": move.span.end,
            "committed": move.committed,
            "target": move.target,
            "until": move.until,
            "records": of.records,
            "marked": of.marked,
            "toProcess": of.fresh,
            "unreadable": of.unreadable,
        }
        for move in outlook.moves
        for of in [outlook.counts.get(move.place, Count())]
    ]
    return {
        "worker": target.worker,
        "topic": target.topic,
        "group": group_of(target.worker),
        "replayId": replay,
        "moved": replay is not None,
        "sideEffects": effects,
        "settled": settled,
        "remembered": outlook.remembered,
        **{name: sum(int(each[name]) for each in partitions) for name in _COUNTS},
        "partitions": partitions,
    }


def moved_text(data: Mapping[str, Any]) -> str:
    where = f"{data['group']} on {data['topic']}"
    if not data["partitions"]:
        return f"{where}: it has not read the topic yet, so its worker begins at the start; nothing to read again"
    if all(each["target"] >= each["until"] for each in data["partitions"]):
        return f"{where}: the committed offsets are not after this start; nothing to read again"
    rows = [
        (
            each["partition"],
            f"{each['begin']}..{each['end']}",
            each["committed"],
            each["target"] if each["target"] < each["until"] else "-",
            *(f"{each[name]:,}" for name in _COUNTS),
        )
        for each in data["partitions"]
    ]
    lines = [
        *_columns([_HEADS, *rows]),
        "",
        f"{where} {'moved' if data['moved'] else 'would move'}: {data['records']:,} records are read again",
        f"  {data['marked']:,} have had their effects, and change nothing",
        f"  {data['toProcess']:,} have no mark, and are handled; their messages, CRM calls and orders are {data['sideEffects']}",
    ]
    if data["remembered"]:
        lines.append(
            f"  {data['remembered']:,} of these are in the history of their aggregates already, and do not change them again"
        )
    if data["records"] and data["toProcess"] <= data["remembered"]:
        lines.append("  so no row changes, and no lost row is restored: use `tallyhook rebuild` for this")
    if data["unreadable"]:
        lines.append(f"  {data['unreadable']:,} are not events: each becomes one dead letter")
    if data["settled"]:
        lines.append(f"  {data['settled']:,} waiting messages were sent or given up before, as the log shows")
    if data["moved"]:
        lines.append(f"Start the worker now: tallyhook worker {data['worker']}")
    return "\n".join(lines)


def compared(
    target: Target, built: Built, found: Comparison, *, emitted: Mapping[str, int], letters: Mapping[str, int], kept: str | None
) -> dict[str, Any]:
    """Report the comparison of the shadow with the live tables."""
    return {
        "worker": target.worker,
        "topic": target.topic,
        "equal": found.equal,
        "records": built.records,
        "seconds": round(built.seconds, 3),
        "setAside": letters,
        "wouldTell": emitted,
        "compared": found.compared,
        "outsideRange": found.outside,
        "liveBehind": found.behind,
        "differences": [{"table": table, "kind": kind, "rows": rows} for (table, kind), rows in found.differing.items()],
        "samples": [
            {
                "table": sample.table,
                "kind": sample.kind,
                "key": sample.key,
                "columns": {name: {"live": live, "log": log} for name, (live, log) in sample.columns.items()},
            }
            for sample in found.samples
        ],
        "schema": kept,
    }


def compared_text(data: Mapping[str, Any]) -> str:
    rate = data["records"] / max(data["seconds"], 0.001)
    lines = [
        f"shadow {data['worker']} from {data['topic']}: {data['records']:,} records in {data['seconds']:.1f} s ({rate:,.0f}/s)",
        *(f"  {number:,} set aside, {reason}" for reason, number in data["setAside"].items()),
        f"{data['compared']:,} aggregates have the same events in the live tables; all of their columns are compared",
    ]
    if data["outsideRange"]:
        lines.append(f"  {data['outsideRange']:,} left out: their live rows also have events outside the range")
    if data["liveBehind"]:
        lines.append(f"  {data['liveBehind']:,} left out: the live worker has not handled all of their events yet")
    if data["equal"]:
        lines.append("no difference")
    lines += [f"{each['table']}: {each['rows']:,} {each['kind']}, {_KINDS[each['kind']]}" for each in data["differences"]]
    for sample in data["samples"]:
        lines.append(f"\n{sample['table']} {sample['key']}: {sample['kind']}")
        for name, values in sample["columns"].items():
            lines += [f"  {name}", f"    live {_short(values['live'])}", f"    log  {_short(values['log'])}"]
    if data["schema"]:
        lines.append(f"\nkept in the schema {data['schema']}; to remove it: drop schema {data['schema']} cascade")
    return "\n".join(lines)


_KINDS: Final = {
    "missing": "made by the log, but not in the live table",
    "extra": "in the live table, but not made by the log",
    "different": "with other values than the log makes",
}


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= _VALUE_MAX else f"{text[:_VALUE_MAX]}…"


def _columns(rows: Sequence[Sequence[object]]) -> list[str]:
    """Return the rows as lines whose cells are right-aligned, each column as wide as its widest cell."""
    widths = [max(len(str(row[n])) for row in rows) for n in range(len(rows[0]))]
    return ["  ".join(f"{cell!s:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
