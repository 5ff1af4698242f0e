"""The refusals that only the console has; it shares the others with the API (`gateway.errors`)."""

from enum import StrEnum
from http import HTTPStatus

from runtime.errors import Failure


class Reason(StrEnum):
    """The stable word for a refusal, in the audit log and on the page."""

    SESSION_MISSING = "session_missing"  #: The page needs a session, and the browser has no valid one.
    FORM_WRONG = "form_wrong"  #: The form does not belong to this session.
    LINK_SPENT = "link_spent"  #: The link was used before, or has expired.


class ConsoleError(Failure[Reason]):
    """A refusal, with a sentence for people."""

    @property
    def status(self) -> HTTPStatus:
        return HTTPStatus.FORBIDDEN if self.reason is Reason.FORM_WRONG else HTTPStatus.UNAUTHORIZED
