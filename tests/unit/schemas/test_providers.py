"""Every registered provider has its files, and no two of them can be confused."""

from __future__ import annotations

from itertools import pairwise

import pytest

from schemas.providers import NAMES, SOURCES, Provider, either, provider_of, providers
from schemas.topics import TOPICS, webhooks_of

PROVIDERS = pytest.mark.parametrize("provider", providers(), ids=lambda provider: provider.name)


def test_the_records_are_those_of_the_registration_in_its_order() -> None:
    assert tuple(provider.name for provider in providers()) == NAMES
    assert [provider_of(name) for name in SOURCES] == [*providers(), None]


@PROVIDERS
def test_a_provider_has_its_parts_and_its_topic(provider: Provider) -> None:
    assert callable(provider.part("gateway.webhooks.sources", "source"))
    assert callable(provider.part("streams.payments", "facts_of"))
    assert webhooks_of(provider.name) in TOPICS


@PROVIDERS
def test_it_has_an_example_of_each_record(provider: Provider) -> None:
    assert [type(example) for example in provider.examples] == [message.record for message in provider.messages]


def test_the_type_of_an_event_belongs_to_one_provider() -> None:
    prefixes = sorted(provider.type_prefix for provider in providers())
    assert not any(longer.startswith(shorter) for shorter, longer in pairwise(prefixes))


def test_alternatives_read_as_a_sentence_does() -> None:
    assert [either(words) for words in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a or b", "a, b or c"]
