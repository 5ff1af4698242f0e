"""The report of the command, as data for programs and as text for people."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from operations.rebuild.run import Outcome
from operations.rebuild.search import Indexed
from operations.rebuild.sources import EXPLAINED, LEFT, UNEXPLAINED, Counted

_VERDICTS: Final = {
    "missing": ("will be restored", "were restored"),
    "behind": ("include fewer events than were handled", "included fewer events than were handled, and are corrected"),
    "different": ("have other values than their events", "had other values than their events, and are replaced"),
    "extra": ("exist without an event that makes them", "existed without an event that makes them, and are deleted"),
    "kept": ("stay as they are: the log does not have all of their events",) * 2,
    "lost": ("CANNOT be restored: the log no longer has all of their events",) * 2,
}


_SHOWN: Final = 3
_INDEX: Final = {
    "written": "were restored",
    "refused": "were refused: `tallyhook dead-letters list --consumer search`",
    "lost": "CANNOT be restored: neither the index nor the log has them",
}


def report_of(outcomes: Sequence[Outcome], index: Indexed | None = None, *, dry_run: bool) -> dict[str, Any]:
    """Return the result of a rebuild; `index` is the result of the comparison with the index of documents."""
    return {
        "dryRun": dry_run,
        "ok": ok(outcomes) and (index is None or (not index.lost and (dry_run or index.written == index.missing))),
        **({} if index is None else {"index": asdict(index)}),
        "unexplained": sum(outcome.unexplained for outcome in outcomes if outcome.changed is None),
        "lost": sum(outcome.lost for outcome in outcomes),
        "rebuilt": [_fields_of(outcome) for outcome in outcomes],
    }


def ok(outcomes: Sequence[Outcome]) -> bool:
    """Return true if each table equals what the log makes; false if a row is lost, or waits for a confirmation."""
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
        lines += [f"    {index[name]:,} {meaning}" for name, meaning in _INDEX.items() if index[name]]
    if data["unexplained"] and not data["dryRun"]:
        lines.append("No row with an unexplained difference was changed; if the log is right, confirm this with --yes")
    elif data["dryRun"]:
        lines.append("nothing was changed")
    return "\n".join(lines)


def _lines(each: Mapping[str, Any]) -> Iterator[str]:
    changed = each["changed"] > 0
    read = f"{each['fromLog']:,} events from the log" + (f", {each['fromKafka']:,} from Kafka" if each["fromKafka"] else "")
    yield f"{each['source']}: {read}, in {each['seconds']:.1f} s" + (
        f"; its tables were locked against writers for {each['lockedMs']:,} ms" if changed else ""
    )
    if each["gone"]:
        yield f"  {each['gone']:,} handled events are no longer in the log, nor in Kafka"
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
        yield f"  in no log, so not in restored rows: {each['untold']}"
