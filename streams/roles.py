"""Every role that a worker can have."""

from collections.abc import Mapping
from typing import Final

from streams.alerts.handler import ALERTS
from streams.cache.handler import CACHE
from streams.leads.role import LEADS
from streams.notifications.handler import NOTIFICATIONS
from streams.payments.role import PAYMENTS
from streams.role import Role
from streams.search.handler import SEARCH

ROLES: Final[Mapping[str, Role]] = {role.name: role for role in (PAYMENTS, CACHE, SEARCH, NOTIFICATIONS, LEADS, ALERTS)}
