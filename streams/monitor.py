"""Faust's monitor of a worker's agents, which counts the events beside the chunks that hold them."""

from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any, Final

from faust.sensors.monitor import Monitor as FaustMonitor
from faust.types import TP, AppT, EventT, StreamT
from typing_extensions import override

_WINDOW: Final = 10
"""Seconds over which a rate is taken."""
_TIMES: Final = 1000
"""The number of chunks whose processing times are kept: the last ones."""


class Tally:
    """Counts of one agent: its work since the process began, and the events that it has in hand."""

    def __init__(self) -> None:
        self.chunks = self.events = self.in_hand = 0
        self._times: deque[float] = deque(maxlen=_TIMES)
        self._seconds: deque[tuple[int, int, int]] = deque(maxlen=_WINDOW + 1)

    def begin(self, events: int) -> None:
        """Count a chunk that the agent has taken from its stream."""
        self.in_hand += events

    def end(self, events: int, took: float, now: float) -> None:
        """Count a chunk that the agent has acknowledged."""
        self.chunks += 1
        self.events += events
        self.in_hand -= events
        self._times.append(took)
        second, chunks, before = int(now), 0, 0
        if self._seconds and self._seconds[-1][0] == second:
            _, chunks, before = self._seconds.pop()
        self._seconds.append((second, chunks + 1, before + events))

    def rates(self, now: float) -> tuple[float, float]:
        """Chunks and events a second, over the last whole seconds."""
        counted = [each for each in self._seconds if int(now) - _WINDOW <= each[0] < int(now)]
        return sum(each[1] for each in counted) / _WINDOW, sum(each[2] for each in counted) / _WINDOW

    def took(self, share: float) -> float | None:
        """Seconds within which that share of the last chunks was acknowledged after it was taken; None before the first."""
        return quantile(sorted(self._times), share)


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that this share of them does not exceed."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


class Monitor(FaustMonitor):
    """
    A Faust monitor with a tally of each agent, by the agent's name.

    It also keeps the state of events under way. Faust loses it where a stream is acknowledged by hand, so that its own count of
    them would never fall.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.tallies: Final[defaultdict[str, Tally]] = defaultdict(Tally)
        self._under_way: Final[dict[tuple[TP, int], Any]] = {}

    @override
    def on_stream_event_in(self, tp: TP, offset: int, stream: StreamT[Any], event: EventT[Any]) -> dict[Any, Any] | None:
        state = self._under_way[tp, offset] = super().on_stream_event_in(tp, offset, stream, event)
        self.tallies[tp.topic].begin(len(event.value))
        return state

    @override
    def on_stream_event_out(
        self, tp: TP, offset: int, stream: StreamT[Any], event: EventT[Any], state: dict[Any, Any] | None = None
    ) -> None:
        state = self._under_way.pop((tp, offset), None)
        super().on_stream_event_out(tp, offset, stream, event, state)
        if state:
            self.tallies[tp.topic].end(len(event.value), state["time_total"], self.time())

    @override
    def on_rebalance_start(self, app: AppT) -> dict[Any, Any]:
        """Forget the chunks that are under way, since Kafka hands them out again."""
        self._under_way.clear()
        self.events_active = self.messages_active = 0
        for tally in self.tallies.values():
            tally.in_hand = 0
        return super().on_rebalance_start(app)
