"""Every projection by the name that the command takes, and where it comes from."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ops.rebuild import billing
from ops.rebuild.errors import RebuildRefused
from ops.rebuild.sources import Source

_Of = Callable[[set[str]], Source]

_NAMES: Final[Mapping[str, Sequence[_Of]]] = {
    **dict.fromkeys(billing.KINDS, (billing.source,)),
    "history": (billing.source,),
    "reconciliations": (lambda _: billing.paid_source(),),
}
NAMES: Final = (*_NAMES, "all")
_WHY_NOT: Final[Mapping[str, str]] = {
    "contacts": "contacts come over HTTP and are in no log: restore a backup, or have them sent again by whoever sent them",
    "expectations": "what is expected comes over HTTP and is in no log: have it sent again (what was paid: reconciliations)",
}


def sources(names: Sequence[str]) -> list[Source]:
    """
    Where the projections of these names come from, in the order in which they are made.

    Raises RebuildRefused: `projection_unknown`, `projection_not_in_log`.
    """
    for name in names:
        if name in _WHY_NOT:
            raise RebuildRefused("projection_not_in_log", f"{name} cannot be rebuilt: {_WHY_NOT[name]}")
        if name not in NAMES:
            raise RebuildRefused("projection_unknown", f"there is no projection {name!r}; there are: {', '.join(NAMES)}")
    wanted = {*_NAMES} if "all" in names else {*names}
    makers = dict.fromkeys(make for name, of in _NAMES.items() if name in wanted for make in of)
    return [make(wanted) for make in makers]
