"""Messages are rendered for operators as the worker renders them."""

from __future__ import annotations

import pytest

from operations.errors import OperationError
from operations.messages.rendering import of_contents, render, sample_of
from projections.documents import data_in
from projections.notifications import Contents
from schemas.templates import TEMPLATES


@pytest.mark.parametrize("code", TEMPLATES)
def test_every_field_of_every_template_has_a_sample_of_its_kind(code: str) -> None:
    template = TEMPLATES[code]
    sample = sample_of(template)
    assert {name: type(value) for name, value in sample.items()} == {**template.data, **template.optional}
    assert render(code, "EMAIL", sample).html


@pytest.mark.parametrize(
    "contents",
    [
        Contents("EMAIL", "payment-succeeded", None, None),
        Contents("EMAIL", "payment-succeeded", {}, None),
        Contents("EMAIL", "a-template-of-before", {}, None),
    ],
)
def test_a_template_that_cannot_be_rendered_is_reported_with_its_reason(contents: Contents) -> None:
    with pytest.raises(OperationError) as caught:
        of_contents(contents)
    assert caught.value.reason == "message_unreadable"


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "None", "{", '{"a": 1'])
def test_a_document_that_is_no_object_is_none(text: str) -> None:
    assert data_in(text) is None
