"""Every role that a worker can have."""

from collections.abc import Iterator, Mapping
from pkgutil import resolve_name
from typing import Final

from streams.role import Role

_PLACES: Final = {
    "payments": "streams.payments.role:PAYMENTS",
    "cache": "streams.cache.handler:CACHE",
    "search": "streams.search.handler:SEARCH",
    "notifications": "streams.notifications.handler:NOTIFICATIONS",
    "leads": "streams.leads.role:LEADS",
    "alerts": "streams.alerts.handler:ALERTS",
}


class _Roles(Mapping[str, Role]):
    """The roles by name. A role is imported when it is looked up, so a worker loads only the clients that its own roles need."""

    def __getitem__(self, name: str) -> Role:
        role: Role = resolve_name(_PLACES[name])
        return role

    def __iter__(self) -> Iterator[str]:
        return iter(_PLACES)

    def __len__(self) -> int:
        return len(_PLACES)


ROLES: Final[Mapping[str, Role]] = _Roles()
