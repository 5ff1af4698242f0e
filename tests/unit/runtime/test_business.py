"""`runtime` has only code that every process needs, without business terms."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import runtime

# `lead` is a verb too: the service that leads holds a lock.
WORDS: Final = re.compile(r"(?i)(?<![a-z])(stripe|razorpay|partners?|leads|payments?|invoices?|refunds?|disputes?)(?![a-z])")


def test_runtime_names_no_provider_and_no_business() -> None:
    modules = sorted(Path(runtime.__path__[0]).glob("*.py"))
    assert modules
    assert [f"{path.name}: {found[0]}" for path in modules for found in WORDS.finditer(path.read_text())] == []
