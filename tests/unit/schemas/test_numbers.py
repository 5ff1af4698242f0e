"""Whole numbers as JSON Schema defines them: read exactly or refused."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
import pytest

from schemas.numbers import INT64_MAX, Decoder, convert, whole
from schemas.templates import TemplateError, check, fields_of


class Line(msgspec.Struct):
    amounts: list[int] | None = None
    by_name: dict[str, int] = {}
    pair: tuple[str, int] = ("", 0)
    total: Annotated[int, msgspec.Meta(ge=0, le=INT64_MAX)] | None = None
    rate: float | None = None
    inner: Line | None = None
    rest: Any = None


DECODER: Final = Decoder(Line)


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("2284", 2284),
        ("2284.0", 2284),
        ("1e3", 1000),
        ("1E+2", 100),
        ("2.50e1", 25),
        ("-0.0", 0),
        ("9007199254740993.0", 9007199254740993),
        ("9223372036854775807.0", INT64_MAX),
    ],
)
def test_a_number_without_a_fraction_is_an_integer_and_exact(written: str, number: int) -> None:
    read = DECODER.decode(f'{{"total": {written}}}'.encode()).total
    assert (read, type(read)) == (number, int)


@pytest.mark.parametrize(
    "written",
    [
        *("2284.5", "1e-3", "0." + "0" * 40 + "1", "1e400", "1e1000000", "1e99999999999999999999", "9223372036854775808.0"),
        *("-1.0", "true", '"5"', "null,"),
    ],
)
def test_a_number_that_is_not_whole_or_too_large_is_refused_and_never_rounded(written: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        DECODER.decode(f'{{"total": {written}}}'.encode())


def test_integers_are_found_wherever_the_type_has_them_and_nowhere_else() -> None:
    body = b"""{"amounts": [1.0, 2], "by_name": {"a": 3.0}, "pair": ["b", 4e0], "rate": 5.0, "rest": [6.0, {"a": 7.5}],
                "inner": {"amounts": [8.0]}, "unknown": 9.0}"""
    read = DECODER.decode(body)
    assert read == Line(amounts=[1, 2], by_name={"a": 3}, pair=("b", 4), rate=5.0, rest=[6.0, {"a": 7.5}], inner=Line([8]))
    assert [type(each) for each in read.amounts or ()] == [int, int]
    assert type(read.rate) is float
    assert type(read.rest[0]) is float  # an index of Elasticsearch would take the field for another type


def test_other_misfits_are_reported_as_before() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"Expected `int`, got `float` - at `\$.amounts\[1\]`"):
        DECODER.decode(b'{"amounts": [1.0, 2.5]}')
    with pytest.raises(msgspec.ValidationError, match=r"at `\$.inner`"):
        DECODER.decode(b'{"total": 1.0, "inner": 5}')


def test_decoded_values_may_have_them_too() -> None:
    assert convert({"amounts": [1.0]}, Line) == Line([1])


def test_a_float_that_may_have_been_rounded_is_no_integer() -> None:
    assert [whole(value) for value in (2284.0, 2.0**53 - 1, 2.0**53, 1e22, 1.5, True, "5")] == [
        2284, 2**53 - 1, None, None, None, None, None,
    ]  # fmt: skip


def test_data_of_a_template_is_whole_or_refused() -> None:
    data = {"providerPaymentId": "pi_1", "amount": 2284.0, "currency": "eur"}
    template = check("payment-succeeded", "EMAIL", data)
    assert str(fields_of(template, data)["amount"]) == "2284"
    for amount in (2284.5, 2.0**53, INT64_MAX + 1, True):
        with pytest.raises(TemplateError, match="amount"):
            check("payment-succeeded", "EMAIL", {**data, "amount": amount})
