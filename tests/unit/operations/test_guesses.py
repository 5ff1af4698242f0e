"""Usual changes of a body, a secret or a header by proxies, frameworks and people: each is found, alone or with a second one."""

from __future__ import annotations

import base64
import json
import re
import time
import unicodedata
from typing import TYPE_CHECKING, Any, Final

import pytest

from gateway.secrets.uses import LiveSecret
from gateway.webhooks.signatures import digests_of, timestamp_of
from operations.deliveries.explanation import Circumstances, explain
from operations.webhook_replay.store import StoredDelivery
from runtime.ids import new_id, time_of
from runtime.settings import Secret
from tests.unit.operations.test_explanation import (
    ACME,
    API_KEY,
    DAY,
    KNOWN,
    LEAD,
    LIVE,
    RAZORPAY,
    STRIPE,
    mac,
    razorpay,
    stripe,
)

if TYPE_CHECKING:
    from operations.deliveries.explanation import Explanation

HEX: Final = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
OF_HEX: Final = b'{"partnerId":"hex","externalLeadId":"1","payload":{}}'
ALL: Final = (*LIVE, LiveSecret("PARTNER_HEX_SECRET", Secret(HEX), 0, 1, DAY))
SENT_DATA: Final[dict[str, Any]] = {
    "id": "evt_1", "type": "x", "livemode": True, "created": 1_795_763_000, "amount": 10,
    "data": {"empty": {}, "none": [], "list": [1, 2, {"a": 1}], "url": "https://e.com/?b=1&c=<2>'q'+="},
    "name": "Zoë 😀", "n": None,
}  # fmt: skip
COMPACT: Final = json.dumps(SENT_DATA, separators=(",", ":"), ensure_ascii=False)
PRETTY: Final = json.dumps(SENT_DATA, indent=2, ensure_ascii=False)


def escaped(text: str, characters: str, digits: str = "04x") -> str:
    return "".join(f"\\u{ord(each):{digits}}" if each in characters else each for each in text)


def upper(text: str) -> str:
    return re.sub(r"\\u[0-9a-f]{4}", lambda found: f"\\u{found[0][2:].upper()}", text)


def because(refused: StoredDelivery, **known: Any) -> Explanation:
    found = explain(refused, Circumstances(secrets=ALL, api_keys=(Secret(API_KEY),), **known))
    for secret in (*(live.secret.value for live in ALL), API_KEY):
        assert secret not in str(found)
    return found


JACKSON: Final = """{
  "id" : "evt_1",
  "list" : [ 1, 2 ],
  "items" : [ {
    "a" : 1
  }, {
    "b" : [ ]
  } ],
  "e" : { },
  "f" : [ ]
}"""
RUBY: Final = """{
  "id": "evt_1",
  "list": [
    1,
    2
  ],
  "items": [
    {
      "a": 1
    },
    {
      "b": [

      ]
    }
  ],
  "e": {
  },
  "f": [

  ]
}"""
PLAIN: Final = '{"id":"evt_1","list":[1,2],"items":[{"a":1},{"b":[]}],"e":{},"f":[]}'
SENT_AS: Final[dict[str, tuple[str, str]]] = {
    "Python": (COMPACT, json.dumps(SENT_DATA)),
    "Python, sorted and indented": (COMPACT, json.dumps(SENT_DATA, sort_keys=True, indent=4)),
    "PHP": (COMPACT, json.dumps(SENT_DATA, separators=(",", ":")).replace("/", "\\/")),
    "PHP, pretty": (COMPACT, json.dumps(SENT_DATA, indent=4).replace("/", "\\/")),
    "PHP, with plain characters": (COMPACT, COMPACT.replace("/", "\\/")),
    "Go": (COMPACT, escaped(COMPACT, "<>&")),
    "Go, indented by tabs": (COMPACT, escaped(json.dumps(SENT_DATA, indent="\t", ensure_ascii=False), "<>&")),
    "Gson": (COMPACT, escaped(COMPACT, "<>&='")),
    "Jackson, ASCII alone": (COMPACT, upper(json.dumps(SENT_DATA, separators=(",", ":")))),
    "Jackson, pretty": (PLAIN, JACKSON),
    "Jackson, pretty on Windows": (PLAIN, JACKSON.replace("\n", "\r\n")),
    "Ruby, pretty": (PLAIN, RUBY),
    ".NET": (COMPACT, escaped(upper(json.dumps(SENT_DATA, separators=(",", ":"))), "<>&'+", "04X")),
    ".NET, indented": (COMPACT, PRETTY.replace("\n", "\r\n")),
    "org.json": ('{"a":"</b>"}', '{"a":"<\\/b>"}'),
    "lines of U+2028": ('{"a":"x\u2028y"}', '{"a":"x\\u2028y"}'),
    "its own white space": ('{ "a" :["Zoë" ] }', '{ "a" :["Zo\\u00eb" ] }'),
    "two fields of one name": ('{"a": 1, "a": 2}', '{"a":1,"a":2}'),
    "jsonb": ('{"id":1,"name":2,"a":3}', '{"a": 3, "id": 1, "name": 2}'),
    "a float as it was": ('{"a": 1.10, "b": 1E5}', '{"a":1.10,"b":1E5}'),
    "a float that JavaScript wrote": ('{"id":"e","amount":10,"n":5}', '{"id": "e", "amount": 10.0, "n": 5}'),
    "two places that JavaScript cut": ('{"id":"e","amount":10.5,"n":5}', '{"id": "e", "amount": 10.50, "n": 5}'),
    "all floats that JavaScript wrote": ('{"a":10,"b":5}', '{"a":10.0,"b":5.0}'),
    "integers that became floats": ('{"a":10.0,"t":1.795763E9,"b":5}', '{"a":10,"t":1795763000,"b":5}'),
    "a byte order mark besides": ("\ufeff" + COMPACT, PRETTY),
    "JSON in a string": (json.dumps(PRETTY), PRETTY),
    "JSON without any text": ("[1,2]", "[1, 2]"),
}


@pytest.mark.parametrize(("arrived", "sent"), SENT_AS.values(), ids=list(SENT_AS))
def test_json_is_known_again_however_it_was_written(arrived: str, sent: str) -> None:
    assert arrived != sent
    assert because(razorpay(arrived.encode(), sent=sent.encode())).cause == "body_reencoded"


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        *((charset, "Zoë Ørsted") for charset in ("latin-1", "cp1252", "iso8859-15", "mac-roman")),
        *((charset, "zażółć") for charset in ("iso8859-2", "cp1250")),
        *((charset, "Ёлка") for charset in ("cp1251", "koi8-r")),
        *(("shift_jis", "日本"), ("euc-jp", "日本"), ("gbk", "中文"), ("big5", "中文"), ("euc-kr", "한국"), ("cp1253", "Αθήνα")),
        *((charset, "Zoë") for charset in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7")),
    ],
)
def test_a_charset_is_known_again(charset: str, text: str) -> None:
    sent = f'{{"name":"{text}"}}'
    assert because(razorpay(sent.encode(charset), sent=sent.encode())).cause == "body_reencoded"
    spaced = f'{{"name": "{text}"}}'
    if charset in {"latin-1", "cp1252", "utf-16"}:
        assert because(razorpay(sent.encode(charset), sent=spaced.encode())).cause == "body_reencoded"


@pytest.mark.parametrize(
    "around",
    ["{}\n", "{}\r\n", "{} ", " {}", " {} ", "\n{}", '"{}"', "'{}'", "`{}`", '"{}"\n', "{}\n\n", "{}\u00a0"],
)
def test_a_secret_is_known_again_with_anything_around_it(around: str) -> None:
    assert because(stripe(key=around.format(STRIPE))).cause == "secret_with_whitespace"
    assert because(stripe(key=around.format(API_KEY))).cause == "api_key_as_secret"
    assert because(razorpay(PLAIN.encode(), key=around.format(RAZORPAY))).cause == "secret_with_whitespace"


@pytest.mark.parametrize(
    ("key", "cause"),
    [
        (f"STRIPE_WEBHOOK_SECRET={STRIPE}", "secret_with_whitespace"),
        (base64.b64encode(f"{STRIPE}\n".encode()), "secret_taken_for_base64"),
        (base64.urlsafe_b64encode(STRIPE.encode()).rstrip(b"="), "secret_taken_for_base64"),
        (STRIPE.encode().hex(), "secret_taken_for_hex"),
        (bytes.fromhex(HEX), "secret_taken_for_hex"),
        (base64.b64decode(HEX), "secret_taken_for_base64"),
        (HEX, "secret_of_other_source"),
    ],
)
def test_a_secret_is_known_again_in_another_form(key: bytes | str, cause: str) -> None:
    assert because(stripe(key=key)).cause == cause


@pytest.mark.parametrize(
    "header",
    [
        "v1={v1},t={t}", "t={t};v1={v1}", "t={t} v1={v1}", "T={t},V1={V1}", '"t={t},v1={v1}"', "t%3D{t}%2Cv1%3D{v1}",
        '{{"t":"{t}","v1":"{v1}"}}', "t={t},v1=0x{v1}", "t={t},v0={v1}", "t = {t} , v1 = {v1}", "t={t}, v1={v1}, t={t}, v1={v1}",
    ],
)  # fmt: skip
def test_a_header_is_known_again(header: str) -> None:
    assert because(stripe(header=header, reason="signature_malformed")).cause == "signature_reformatted"


@pytest.mark.parametrize("urlsafe", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_a_digest_is_known_again_in_any_form(urlsafe: bool, padded: bool) -> None:  # of a table
    for digest in (b"\xfb\xff" * 16, bytes(range(32))):
        encoded = (base64.urlsafe_b64encode if urlsafe else base64.b64encode)(digest).decode()
        pairs = ":".join(f"{byte:02X}" for byte in digest)
        for text in (encoded if padded else encoded.rstrip("="), pairs, digest.hex(), f"sha256={digest.hex()}"):
            assert digests_of(f"v1={text}") == digests_of(text) == [digest]
    assert digests_of("v1=abc, t=1795763000, " + "a" * 63 + ", " + "b" * 65 + ", " + "c" * 42 + ", " + "d" * 44) == []


@pytest.mark.parametrize(
    ("header", "text", "seconds"),
    [
        ("t=0017,v1=a", "0017", 17),
        ('{"t":1795763000}', "1795763000", 1_795_763_000),
        ("t=1795763000123", "1795763000123", 1_795_763_000.123),
    ],
)
def test_the_time_is_known_again_as_it_was_signed(header: str, text: str, seconds: float) -> None:
    found = timestamp_of(header)
    assert found
    assert (found.text, found.seconds) == (text, seconds)
    assert timestamp_of("v1=t,at=5,t=x") is None


def timed(signed: str, header: str = "t={t},v1={v1}", *, times: int = 1) -> StoredDelivery:
    """A partner's delivery; `signed` is the prefix of the body in the signed text."""
    delivery = new_id()
    moment = int(time_of(delivery).timestamp()) * times
    value = header.format(t=moment, v1=mac(ACME, signed.format(t=moment).encode() + LEAD))
    return StoredDelivery(delivery, "partner", "signature_wrong", "0" * 32, {"X-Partner-Signature": value}, LEAD, None)


@pytest.mark.parametrize("signed", ["", "{t}", "{t}:", "{t}\n"])
def test_a_time_that_was_signed_differently_is_reported(signed: str) -> None:
    assert because(timed(signed)).cause == "timestamp_signed_otherwise"


def test_a_time_in_milliseconds_is_reported() -> None:
    found = because(timed("{t}.", times=1000))
    assert (found.cause, "milliseconds" in found.detail) == ("timestamp_signed_otherwise", True)


def test_a_header_without_a_time_is_reported() -> None:
    found = because(stripe(header="v1={v1}", reason="signature_malformed"))
    assert (found.cause, "no time" in found.detail) == ("signature_malformed", True)


def test_two_faults_at_once_are_both_reported() -> None:
    pretty, compact = PRETTY.encode(), COMPACT.encode()
    late = because(stripe(compact, sent=pretty, late=4000))
    assert (late.cause, "besides, it arrived 400" in late.detail) == ("body_reencoded", True)
    late = because(stripe(key=f"{STRIPE}\n", late=4000))
    assert (late.cause, "besides, it arrived 400" in late.detail) == ("secret_with_whitespace", True)
    both = because(stripe(compact, sent=pretty, key=f"{STRIPE}\n"))
    assert (both.cause, both.detail[:10], "spaces, quotes" in both.detail) == ("body_reencoded", "two faults", True)
    foreign = because(stripe(compact, sent=pretty, key=RAZORPAY))
    assert (foreign.cause, "RAZORPAY_WEBHOOK_SECRET" in foreign.detail) == ("body_reencoded", True)
    header = because(stripe(late=4000, header="t={t};v1={v1}", reason="signature_malformed"))
    assert (header.cause, "its header was changed" in header.detail) == ("clock_skew", True)


@pytest.mark.parametrize("sent", ['{"a":2}', '{"b":1}', '{"a":1.01}', '{"a":"1"}', '{"a":[1]}', '{"a":1,"b":1}', '{"a":null}'])
def test_a_body_with_another_content_is_never_taken_for_the_same(sent: str) -> None:
    found = because(razorpay(b'{"a":1}', sent=sent.encode()))
    assert (found.cause, found.secret_id) == ("unknown", None)


def test_a_body_too_large_for_every_guess_is_reported() -> None:
    body = json.dumps({"partnerId": "acme", "externalLeadId": "1", "text": ["x" * 50, "/é"] * 60_000}).encode()
    refused = StoredDelivery(
        new_id(), "partner", "signature_wrong", "0" * 32, {"X-Partner-Signature": f"sha256={mac('x', body)}"}, body, None
    )
    found = explain(refused, KNOWN)
    assert (found.cause, "too large" in found.detail) == ("unknown", True)


@pytest.mark.parametrize(
    "text",
    [
        "a" + "\u0316\u0300\u0345" * 20_000,  # Python sorts a row of marks in steps that grow with its square
        "a" + "\u0f73" * 40_000,  # no mark until it is decomposed
        '{"' + '":1.0,"'.join(map(str, range(10_000))) + '":1.0}',
        "[" + "1.0," * 40_000 + "1]",
    ],
    ids=["marks", "decomposed marks", "fields", "numbers"],
)
def test_no_body_of_a_stranger_takes_longer_than_some_seconds(text: str) -> None:
    began = time.thread_time()
    assert because(razorpay(text.encode(), "nobody's")).cause == "unknown"
    assert time.thread_time() - began < 10


def test_a_number_with_more_digits_than_python_reads_is_no_character_of_html() -> None:
    assert because(razorpay(b'{"a":"&#' + b"9" * 5000 + b';"}', "nobody's")).cause == "unknown"


def test_the_usual_rows_of_marks_are_composed() -> None:
    sent = '{"name":"Zoe\u0308 ' + "e\u0301" * 100 + '"}'
    assert because(razorpay(unicodedata.normalize("NFC", sent).encode(), sent=sent.encode())).cause == "body_reencoded"
