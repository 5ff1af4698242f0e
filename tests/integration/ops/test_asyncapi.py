"""The contract of the topics is AsyncAPI by its own schema."""

from __future__ import annotations

import jsonschema
import msgspec

from tests.npm import ASYNCAPI_SPECS, npm_package
from tests.unit.ops.test_asyncapi import DOCUMENT


def test_it_is_asyncapi_30() -> None:
    specs = npm_package(ASYNCAPI_SPECS) / "node_modules" / "@asyncapi" / "specs" / "schemas"
    jsonschema.validate(DOCUMENT, msgspec.json.decode((specs / "3.0.0.json").read_bytes()))
