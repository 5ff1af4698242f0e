"""The console's own refusals; those that the API has too are `gateway.errors`."""

from enum import StrEnum
from http import HTTPStatus

from runtime.errors import Failure


class Reason(StrEnum):
    """The stable word for a refusal, in the audit log and on the page."""

    SESSION_MISSING = "session_missing"  #: The page needs a session, and the browser has none that is alive.
    FORM_WRONG = "form_wrong"  #: The form is not one of this session.
    LINK_SPENT = "link_spent"  #: The link was used before, or its time is over.


class ConsoleError(Failure[Reason]):
    """A refusal, with a sentence for people."""

    @property
    def status(self) -> HTTPStatus:
        return HTTPStatus.FORBIDDEN if self.reason is Reason.FORM_WRONG else HTTPStatus.UNAUTHORIZED
