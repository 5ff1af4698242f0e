"""One mail to one recipient over an open connection (RFC 5321, 3.3); of a success, only the first digit counts (4.2.1)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from aiosmtplib import SMTP, SMTPDataError, SMTPNotSupported, SMTPResponseException, SMTPServerDisconnected, SMTPStatus

_SUCCESSES: Final = range(200, 300)
_END: Final = b".\r\n"
TAKING: Final = 600.0
"""The seconds that a server has to answer a mail (RFC 5321, 4.5.3.2.6): it may scan it, and another attempt would double it."""


async def transact(
    client: SMTP, mail: bytes, sender: str, recipient: str, handing_over: Callable[[], object] = lambda: None
) -> None:
    """
    Send the mail, whose lines end in CR and LF. Raises what aiosmtplib raises.

    `handing_over` is called right before the mail is handed over; if it raises, the server does not get the mail.

    aiosmtplib's own `sendmail` takes every success but 250 for a refusal. After the end of a mail that would be wrong: the server
    has the mail, and would get it again.
    """
    options, encoding = list[str](), "ascii"
    if not (sender + recipient).isascii():
        if not client.supports_extension("smtputf8"):
            raise SMTPNotSupported("SMTPUTF8 is not supported by this server")
        options, encoding = ["SMTPUTF8", "BODY=8BITMIME"], "utf-8"
    if not mail.endswith(b"\r\n"):
        mail += b"\r\n"
    if client.supports_extension("size"):
        options.append(f"SIZE={len(mail)}")
    with _any_success():
        await client.mail(sender, options=options, encoding=encoding)
    with _any_success():
        await client.rcpt(recipient, encoding=encoding)
    await _transfer(client, mail, handing_over)


@contextmanager
def _any_success() -> Iterator[None]:
    try:
        yield
    except SMTPResponseException as error:
        if error.code not in _SUCCESSES:
            raise


async def _transfer(client: SMTP, mail: bytes, handing_over: Callable[[], object]) -> None:
    begun = await client.execute_command(b"DATA")
    if begun.code != SMTPStatus.start_input:
        raise SMTPDataError(begun.code, begun.message)
    if client.protocol is None:
        raise SMTPServerDisconnected("Connection lost")
    handing_over()
    client.protocol.write(b"\r\n".join(b"." + line if line.startswith(b".") else line for line in mail.split(b"\r\n")) + _END)
    ended = await client.protocol.read_response(timeout=TAKING)
    if ended.code not in _SUCCESSES:
        raise SMTPDataError(ended.code, ended.message)
