"""The pause that a server requests by `Retry-After`."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

RETRY_AFTER_MAX: Final = timedelta(days=1)
"""The longest pause that a server can request."""
FAR: Final = RETRY_AFTER_MAX + timedelta(hours=1)
"""No pause is as long, even if the clock is set back a little in it: a time that is further away was stored by a clock ahead."""
_DIGITS_MAX: Final = 9  # more digits of seconds mean more than that pause
# IMF-fixdate, and the two obsolete forms that a recipient must accept as well (RFC 9110, 5.6.7); the last is that of mail, which
# some servers write.
_HTTP_DATES: Final = (
    "%a, %d %b %Y %H:%M:%S GMT",
    "%A, %d-%b-%y %H:%M:%S GMT",
    "%a %b %d %H:%M:%S %Y",
    "%a, %d %b %Y %H:%M:%S %z",
)


def parse_retry_after(header: str | None, now: datetime, *, sent: str | None = None) -> timedelta | None:
    """
    Parse a number of seconds or an HTTP-date (RFC 9110, 10.2.3); returns None for anything else.

    A date is compared with `sent`, the `Date` of the answer, since both are by the server's clock; without one, with `now`.
    """
    text = (header or "").strip(" \t")
    if not text or not text.isascii():  # an answer without the header is the usual one
        return None
    if text.isdecimal():
        digits = text.lstrip("0") or "0"
        return timedelta(seconds=int(digits)) if len(digits) <= _DIGITS_MAX else RETRY_AFTER_MAX
    moment = parse_http_date(text)
    return None if moment is None else max(timedelta(), moment - (parse_http_date(sent or "") or now))


def parse_http_date(text: str) -> datetime | None:
    """Parse a time as HTTP writes it; one without a zone is in UTC, and a leap second is the one before it."""
    text = text.replace(":60 ", ":59 ")
    for form in _HTTP_DATES:
        with suppress(ValueError):
            moment = datetime.strptime(text, form)  # noqa: DTZ007  # the next line adds the zone
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None
