"""Samples of every version as it was sent once: each must stay readable for ever, so samples are only added."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import pytest

from schemas.registry import EVENT_TYPES, decode, encode

GOLDEN: Final = Path(__file__).parents[2] / "golden"
SAMPLES: Final = sorted(GOLDEN.glob("*/v*/*.json"))


def _type_and_version(sample: Path) -> tuple[str, int]:
    return sample.parts[-3], int(sample.parts[-2].removeprefix("v"))


@pytest.mark.parametrize("sample", SAMPLES, ids=["-".join(_sample.parts[-3:]) for _sample in SAMPLES])
def test_a_golden_sample_is_read_as_the_current_record(sample: Path) -> None:
    name, version = _type_and_version(sample)
    record = decode(f"urn:tallyhook:{name}:{version}", sample.read_bytes())
    assert type(record) is EVENT_TYPES[name].record


CURRENT: Final = [sample for sample in SAMPLES if _type_and_version(sample)[1] == EVENT_TYPES[sample.parts[-3]].version]


@pytest.mark.parametrize("sample", CURRENT, ids=["-".join(_sample.parts[-3:]) for _sample in CURRENT])
def test_a_golden_sample_of_the_current_version_loses_nothing_on_its_way_through(sample: Path) -> None:
    name, _ = _type_and_version(sample)
    record = decode(EVENT_TYPES[name].dataschema, sample.read_bytes())
    assert msgspec.json.decode(encode(record)) == msgspec.json.decode(sample.read_bytes())


def test_every_version_of_every_type_has_a_golden_sample() -> None:
    known = {(kind.name, version) for kind in EVENT_TYPES.values() for version in range(1, kind.version + 1)}
    assert {_type_and_version(sample) for sample in SAMPLES} == known
