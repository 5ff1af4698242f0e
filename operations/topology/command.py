"""`tallyhook topology`."""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from operations.output import CommandError, Json
from runtime.settings import environment

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from topology.levels import Level
    from topology.view import AgentView, Topology

_COLOURS: Final[dict["Level", str]] = {
    "unknown": "dim",
    "none": "green",
    "some": "yellow",
    "much": "bold red",
    "stopped": "bold red",
}


def topology(
    as_json: Json = False,
    as_mermaid: Annotated[bool, typer.Option("--mermaid", help="Print a Mermaid flowchart.")] = False,
    as_html: Annotated[bool, typer.Option("--html", help="Print the page with the drawing, to be saved as a file.")] = False,
    partitions: Annotated[bool, typer.Option("--partitions", help="Print one line for every partition.")] = False,
) -> None:
    """
    Show the topics with their readers and writers, and the progress and lag of each worker.

    The figures are read from Kafka, so they are right even if none of our processes runs. Without Kafka the command prints the
    declared graph, and fails.
    """
    if as_json + as_mermaid + as_html > 1:
        raise CommandError("give only one of --json, --mermaid and --html")
    from outbox.offsets import Offsets
    from runtime.kafka import KafkaSettings
    from topology.survey import take

    seen = take(Offsets(KafkaSettings.load(environment()).kafka))
    if as_json or as_mermaid or as_html:
        print(_written(seen, as_json=as_json, as_mermaid=as_mermaid), end="")
    else:
        _show(seen, partitions=partitions)
    if not seen.kafka.live:
        raise CommandError(f"{seen.kafka.reason}: {seen.kafka.detail}")


def _written(seen: "Topology", *, as_json: bool, as_mermaid: bool) -> str:
    import msgspec

    from topology.mermaid import mermaid
    from topology.page import render

    if as_json:
        return msgspec.json.encode(seen).decode() + "\n"
    return mermaid(seen) if as_mermaid else render(seen, title="the whole system", fresh=False)


def _show(seen: "Topology", *, partitions: bool) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    for part in (_flow(seen), *_tables(seen, partitions=partitions)):
        console.print(part)
    lag = "unknown" if seen.lag is None else f"{seen.lag:,}"
    console.print(f"{len(seen.topics)} topics, {sum(topic.partitions for topic in seen.topics)} partitions, lag {lag}")
    if seen.kafka.prefix:
        console.print(f"on Kafka, the name of each topic and group begins with {seen.kafka.prefix}")
    for topic in seen.topics:
        if topic.missing:
            console.print(f"[bold red]missing[/] {topic.name}: create it with `tallyhook topics ensure`")


def _flow(seen: "Topology") -> "RenderableType":
    """Return a tree with one branch for each agent, with the topics that it reads and writes."""
    from rich.tree import Tree

    root = Tree("[bold]Tallyhook[/]", guide_style="dim")
    for agent in seen.agents:
        if not (agent.consumes or agent.produces):
            continue
        branch = root.add(f"[bold]{agent.title}[/]{_group_state(agent)}")
        if agent.consumes:
            branch.add(f"reads  [cyan]{'[/], [cyan]'.join(agent.consumes)}[/]")
        emitted = [edge.target for edge in seen.edges if edge.source == agent.name and edge.via and not edge.trouble]
        if emitted:
            branch.add(f"writes [blue]{'[/], [blue]'.join(emitted)}[/]")
        if agent.feeds:
            branch.add(f"feeds  {', '.join(each.title for each in seen.agents if each.name in agent.feeds)}")
    return root


def _group_state(agent: "AgentView") -> str:
    from topology.levels import level_of

    group = agent.group
    if group is None:
        return ""
    if group.state is None:
        return "  [dim]unknown[/]"
    if not group.members:
        return f"  [bold red]no process reads[/] [dim]({group.state})[/]  lag {group.lag:,}"
    number = len(group.members)
    word = f"{number} process{'' if number == 1 else 'es'}, {group.state.replace('_', ' ')}"
    return f"  [dim]{word}[/]  [{_COLOURS[level_of(group.lag)]}]lag {group.lag:,}[/]"


def _tables(seen: "Topology", *, partitions: bool) -> "list[Table]":
    from rich import box
    from rich.table import Table

    from topology.levels import level_of

    if not seen.kafka.live:
        return []
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("Worker", "Topic"):
        table.add_column(name, overflow="fold")
    for name in ("Part.", "End", "Committed", "Lag"):
        table.add_column(name, justify="right", no_wrap=True)
    for worker, topic, where, end, committed, lag in _lines(seen, partitions=partitions):
        shown = "-" if committed is None else f"{committed:,}"
        table.add_row(worker, topic, where, f"{end:,}", shown, f"[{_COLOURS[level_of(lag)]}]{lag:,}[/]")
    return [table]


def _lines(seen: "Topology", *, partitions: bool) -> list[tuple[str, str, str, int, int | None, int]]:
    """Return worker, topic, partition (or their number), end, committed and lag; the figures of a whole topic are sums."""
    lines: list[tuple[str, str, str, int, int | None, int]] = []
    for agent in seen.agents:
        for topic in agent.consumes:
            found = [(p, r) for p in seen.partitions if p.topic == topic for r in p.readers if r.agent == agent.name]
            if partitions:
                lines += [(agent.title, topic, f"{p.partition}", p.end, r.committed, r.lag) for p, r in found]
                continue
            known = [reader.committed for _, reader in found if reader.committed is not None]
            ends, lags = sum(partition.end for partition, _ in found), sum(reader.lag for _, reader in found)
            lines.append((agent.title, topic, f"{len(found)}", ends, sum(known) if known else None, lags))
    return lines
