"""Every projection by the name that the command takes, and where it comes from."""

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
_OVER_HTTP: Final = "they come over HTTP and are in no log: restore a backup, or have their senders send them again"
_WHY_NOT: Final[Mapping[str, str]] = {
    "contacts": _OVER_HTTP,
    "lead_keys": _OVER_HTTP,
    "lead_discards": "operators' decisions over HTTP are in no log: restore a backup, or discard the leads again",
    "expectations": "what is expected comes over HTTP and is in no log: have it sent again (what was paid: reconciliations)",
    "outbox": "it is the log itself: restore a backup",
    "webhook_deliveries": "a delivery is in no log before it is in this table: restore a backup",
    **dict.fromkeys(("consumed", "dead_letters", "tasks", "erasures", "audit_log"), "no event tells of it: restore a backup"),
}


def sources(names: Sequence[str], environ: Mapping[str, str], *, effects: bool) -> list[Source]:
    """
    The sources of these projections, in the order in which they are made.

    Raises OperationError (`projection_unknown`, `projection_not_in_log`), SettingsError.
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
        "reconciliations": billing.paid_source,  # the last: it is refused where the payments are not there
    }
    wanted = {source for name in asked for source in _NAMES[name]}
    return [make() for name, make in makers.items() if name in wanted]
