"""The settings of every process, all problems at once; and the secrets among them, by their public ids only."""

from __future__ import annotations

import re
import stat
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from ops.doctor.findings import fail, ok, warn
from ops.settings.review import review_of
from runtime.settings import Secret, SettingsError, parse_secrets
from schemas.partners import Partner, PartnerSettings
from schemas.providers import providers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from ops.doctor.findings import Finding

AREA: Final = "settings"
SECRETS: Final = "secrets"
_OF_PROVIDERS: Final = {provider.secret_setting: provider for provider in providers()}
_NAMES: Final = (*_OF_PROVIDERS, "INTERNAL_API_TOKEN", "ADMIN_API_TOKEN", "READ_API_TOKEN")
_PLACEHOLDER: Final = re.compile(
    r"change.?me|example|placeholder|your[-_ ]|x{4,}|secret$|^whsec_(test)?$|…|\.\.\.|<.*>", re.IGNORECASE
)
_SHORT: Final = 16  # characters; a shorter one was typed by a person, not made by a generator
_FRESH: Final = "make one with `tallyhook secrets new`, put it first in the list, and follow the page"


def check_settings(environ: Mapping[str, str]) -> list[Finding]:
    """Report every setting with which a process would not start, and every doubtful one."""
    found = review_of(environ)
    act = "set it in .env or the environment; env.example has every setting with its meaning"
    findings = [fail(AREA, problem, act, "process-down") for problem in found.problems]
    findings += [warn(AREA, warning, act, "process-down") for warning in found.warnings]
    return findings or [ok(AREA, "every process would start with them")]


def address_in(environ: Mapping[str, str], name: str, check: Callable[[str], str]) -> str | None:
    """Return the address in that setting, or None if it is unset or invalid, which the examination of the settings reports."""
    try:
        return check(environ.get(name, "")) or None
    except ValueError:
        return None


def check_secrets(environ: Mapping[str, str], folder: Path) -> list[Finding]:
    """Report secrets that are placeholders or too short, are shared by several names, or are being rotated."""
    live = {name: _secrets(environ.get(name, "")) for name in _NAMES}
    try:
        partners = PartnerSettings.load(environ).partners
    except SettingsError:
        partners = {}  # reported among the settings
    for key, partner in partners.items():
        live |= {f"PARTNER_{key}_SECRET": partner.secret, f"PARTNER_{key}_TOKEN": partner.token}
    found = [finding for name, secrets in live.items() for finding in _look(name, secrets)]
    found += _shared(live)
    found += [finding for key, partner in partners.items() for finding in _check_partner(key, partner)]
    return [*(found or [ok(SECRETS, "all present, and none of them can be guessed")]), *_check_file(folder / ".env")]


def _secrets(text: str) -> tuple[Secret, ...]:
    found = parse_secrets(text)
    return found if isinstance(found, tuple) else ()


def _look(name: str, secrets: tuple[Secret, ...]) -> Iterator[Finding]:
    provider = _OF_PROVIDERS.get(name)
    for secret in secrets:
        if _PLACEHOLDER.search(secret.value):
            yield fail(SECRETS, f"{name} {secret.id} is a publicly known placeholder", _FRESH, "rotate-secrets")
        elif len(secret.value) < _SHORT:
            yield warn(SECRETS, f"{name} {secret.id} has only {len(secret.value)} characters", _FRESH, "rotate-secrets")
        elif provider and not secret.value.startswith(provider.secret.prefix):
            act = f"copy the endpoint's signing secret from {provider.title}'s dashboard; it is not the API key"
            text = f"{name} {secret.id} does not begin with {provider.secret.prefix}"
            yield warn(SECRETS, text, act, "signature-failures")
    if len(secrets) > 1:
        ids = ", ".join(secret.id for secret in secrets)
        act = "drop the old one once GET /v1/admin/secrets reports safeToDrop"
        yield ok(SECRETS, f"{name} has {len(secrets)} live: {ids}")._replace(act=act, runbook="runbooks/rotate-secrets.md")


def _shared(live: Mapping[str, tuple[Secret, ...]]) -> Iterator[Finding]:
    owners: dict[str, list[str]] = defaultdict(list)
    for name, secrets in live.items():
        for secret in {*secrets}:
            owners[secret.value].append(name)
    for names in owners.values():
        if {"INTERNAL_API_TOKEN", "ADMIN_API_TOKEN"} <= {*names}:
            yield fail(SECRETS, "a service's token is an operator's too: its holder may do everything", _FRESH, "rotate-secrets")
        elif len(names) > 1:
            yield warn(SECRETS, f"{' and '.join(names)} share a secret", _FRESH, "rotate-secrets")


def _check_partner(key: str, partner: Partner) -> Iterator[Finding]:
    if not partner.crm_url:
        act = f"set PARTNER_{key}_CRM_URL and PARTNER_{key}_CRM_SECRET"
        yield warn(SECRETS, f"partner {key} has no CRM_URL: its leads are accepted and cannot be delivered", act, "lead-delivery")
    if not partner.secret and not partner.token:
        act = f"set PARTNER_{key}_SECRET or PARTNER_{key}_TOKEN"
        yield warn(SECRETS, f"partner {key} has neither a secret nor a token: it can send nothing", act, "signature-failures")


def _check_file(path: Path) -> list[Finding]:
    if path.exists() and path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return [warn(SECRETS, f"{path} can be read by others on this machine", f"chmod 600 {path}", "rotate-secrets")]
    return []
