"""The projections by their names in the command, and their sources."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from operations.errors import OperationError, Reason
from operations.rebuild import billing, config, leads, notifications, search
from operations.rebuild.sources import Source
from streams.notifications.settings import NotificationSettings

_NAMES: Final[Mapping[str, Sequence[str]]] = {
    **dict.fromkeys(billing.KINDS, ("billing",)),
    "history": ("billing", "leads"),
    "reconciliations": ("reconciliations",),
    "leads": ("leads",),
    "notifications": ("notifications",),
    "search": ("search",),
    "config": ("config",),
}
NAMES: Final = (*_NAMES, "all")
_OVER_HTTP: Final = "they arrive over HTTP and are in no log: restore a backup, or have them sent again"
_WHY_NOT: Final[Mapping[str, str]] = {
    "contacts": _OVER_HTTP,
    "lead_keys": _OVER_HTTP,
    "lead_discards": "decisions of operators arrive over HTTP and are in no log: restore a backup, or discard the leads again",
    "expectations": "expectations arrive over HTTP and are in no log: have them sent again (paid amounts: reconciliations)",
    "outbox": "it is the log itself: restore a backup",
    "webhook_deliveries": "this table is the first record of a delivery: restore a backup",
    **dict.fromkeys(
        ("consumed", "dead_letters", "tasks", "erasures", "audit_log"), "no event has its contents: restore a backup"
    ),
}


def sources(names: Sequence[str], environ: Mapping[str, str], *, effects: bool) -> list[Source]:
    """
    Return the sources of these projections, in the order in which they are built.

    Raises OperationError `projection_unknown`, `projection_not_in_log`, and SettingsError.
    """
    for name in names:
        if name in _WHY_NOT:
            raise OperationError(Reason.PROJECTION_NOT_IN_LOG, f"{name} cannot be rebuilt: {_WHY_NOT[name]}")
        if name not in NAMES:
            raise OperationError(Reason.PROJECTION_UNKNOWN, f"there is no projection {name!r}; there are: {', '.join(NAMES)}")
    asked = {*_NAMES} if "all" in names else {*names}
    makers: dict[str, Callable[[], Source]] = {
        "billing": lambda: billing.source(asked),
        "leads": lambda: leads.source(asked, effects=effects),
        "notifications": lambda: notifications.source(NotificationSettings.load(environ), effects=effects),
        "search": search.source,
        "config": config.source,
        "reconciliations": billing.paid_source,  # last, since it is refused if the table of payments is missing
    }
    wanted = {source for name in asked for source in _NAMES[name]}
    return [make() for name, make in makers.items() if name in wanted]
