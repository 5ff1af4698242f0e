"""The report of the command: data for programs, and the same as text for people."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from operations.rebuild.run import Outcome
from operations.rebuild.search import Indexed
from operations.rebuild.sources import EXPLAINED, LEFT, UNEXPLAINED, Counted

_VERDICTS: Final = {
    "missing": ("come back", "came back"),
    "behind": ("know fewer events than were handled", "knew fewer events than were handled, and are put right"),
    "different": ("say something else than their events", "said something else than their events, and are replaced"),
    "extra": ("are there that no event makes", "were there that no event makes, and are deleted"),
    "kept": ("stay as they are: not all that made them is in the log",) * 2,
    "lost": ("CANNOT come back: the log no longer has all that made them",) * 2,
}


_SHOWN: Final = 3
_INDEX: Final = {
    "written": "are there again",
    "refused": "were not taken: `tallyhook dead-letters list --consumer search`",
    "lost": "CANNOT come back: neither the index nor the log has them",
}


def report_of(outcomes: Sequence[Outcome], index: Indexed | None = None, *, dry_run: bool) -> dict[str, Any]:
    """The result of a rebuild; `index` is the one that was searched for documents."""
    return {
        "dryRun": dry_run,
        "ok": ok(outcomes) and (index is None or (not index.lost and (dry_run or index.written == index.missing))),
        **({} if index is None else {"index": asdict(index)}),
        "unexplained": sum(outcome.unexplained for outcome in outcomes if outcome.changed is None),
        "lost": sum(outcome.lost for outcome in outcomes),
        "rebuilt": [_fields_of(outcome) for outcome in outcomes],
    }


def ok(outcomes: Sequence[Outcome]) -> bool:
    """True if each table is what the log makes; not if a row is lost or waits for a confirmation."""
    return all(not outcome.lost and (outcome.changed is not None or not outcome.unexplained) for outcome in outcomes)


def _fields_of(outcome: Outcome) -> dict[str, Any]:
    return {
        "source": outcome.source,
        "changed": outcome.changed or 0,
        "lockedMs": round(outcome.locked * 1000),
        "seconds": round(outcome.seconds, 3),
        "fromLog": outcome.from_log,
        "fromKafka": outcome.from_kafka,
        "gone": outcome.gone,
        "setAside": outcome.set_aside,
        "untold": outcome.not_in_log,
        "tables": [_table(part) for part in outcome.parts],
    }


def _table(counted: Counted) -> dict[str, Any]:
    verdicts = {verdict: counted.number(verdict) for verdict in (*EXPLAINED, *UNEXPLAINED, *LEFT)}
    return {"table": counted.part.name, "live": counted.live, "log": counted.log, **verdicts, "samples": counted.samples}


def text(data: Mapping[str, Any]) -> str:
    lines = [line for each in data["rebuilt"] for line in _lines(each)]
    if index := data.get("index"):
        lines.append("index: {log:,} documents by the log, {missing:,} were missing or different".format(**index))
        lines += [f"    {index[name]:,} {says}" for name, says in _INDEX.items() if index[name]]
    if data["unexplained"] and not data["dryRun"]:
        lines.append("Nothing was changed where nothing explains the difference; if the log is right, confirm it with --yes")
    elif data["dryRun"]:
        lines.append("nothing was changed")
    return "\n".join(lines)


def _lines(each: Mapping[str, Any]) -> Iterator[str]:
    changed = each["changed"] > 0
    read = f"{each['fromLog']:,} events of the log" + (f", {each['fromKafka']:,} of Kafka" if each["fromKafka"] else "")
    yield f"{each['source']}: {read}, in {each['seconds']:.1f} s" + (
        f"; its tables were locked against writers for {each['lockedMs']:,} ms" if changed else ""
    )
    if each["gone"]:
        yield f"  {each['gone']:,} events that were handled are neither in the log any more nor on Kafka"
    for reason, number in each["setAside"].items():
        yield f"  {number:,} events could not be handled, {reason}"
    for table in each["tables"]:
        report_of = [verdict for verdict in _VERDICTS if table[verdict]]
        same = "" if report_of else ", all as the log makes them"
        yield f"  {table['table']}: {table['live']:,} rows{' before' if changed else ''}, {table['log']:,} by the log{same}"
        for verdict in report_of:
            of = ", ".join(table["samples"].get(verdict, ())[:_SHOWN]) + (", …" if table[verdict] > _SHOWN else "")
            yield f"    {table[verdict]:,} {_VERDICTS[verdict][changed]}" + (f" ({of})" if verdict != "kept" and of else "")
    if each["untold"]:
        yield f"  in no log, so not in rows that {'came' if changed else 'come'} back: {each['untold']}"
