"""One of the roles of a worker's process, which is a member of that role's consumer group."""

from typing import NamedTuple

from streams.progress import Progress
from streams.role import Role
from streams.tools import Tools
from streams.transport import App


class Member(NamedTuple):
    """A role with its own application, tools and progress in this process."""

    role: Role
    app: App
    tools: Tools
    progress: Progress

    @property
    def name(self) -> str:
        """The name of the role."""
        return self.role.name
