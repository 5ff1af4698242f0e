"""Findings of the doctor, by area and level."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ops.doctor.findings import Finding


def of(found: list[Finding], area: str, level: str) -> list[Finding]:
    return [finding for finding in found if (finding.area, finding.level) == (area, level)]


def texts(found: list[Finding]) -> str:
    return "\n".join(" ".join(finding) for finding in found)
