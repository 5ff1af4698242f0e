"""
`docker-compose.yml` as Compose resolves it, alone or below `docker-compose.split.yml`, without Docker.

YAML gives anchors and merges; variables are those of https://docs.docker.com/reference/compose-file/interpolation/, from the
environment over `.env`; what `env_file` names lies below `environment`. Both were compared once with Compose's own library,
compose-go 2.9.
"""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml
from dotenv import dotenv_values

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE: Final = Path(__file__).parents[1] / "docker-compose.yml"
SPLIT: Final = FILE.with_name("docker-compose.split.yml")
_INNER: Final = r"(?:[^{}$]|\$\{[^{}]*\}|\$\$)*"
VARIABLE: Final = re.compile(rf"\$(?:(?P<dollar>\$)|(?P<bare>\w+)|\{{(?P<name>\w+)(?:(?P<rule>:?[-?+])(?P<rest>{_INNER}))?\}})")


class Missing(Exception):
    """A variable that must be set is not; the text is what Compose prints of it."""


class _Loader(yaml.SafeLoader):
    """Reads `!override [...]`, a list that replaces the one below it."""


_Loader.add_constructor("!override", yaml.SafeLoader.construct_sequence)


def resolve(env_file: str | None = None, environ: Mapping[str, str] | None = None, *, split: bool = False) -> dict[str, Any]:
    """
    The whole file with the text of a `.env` beside it, or with none; `split` has the other file laid over it.

    Raises Missing.
    """
    known = {name: text or "" for name, text in dotenv_values(stream=StringIO(env_file or ""), interpolate=False).items()}
    raw = _laid_over(yaml.safe_load(FILE.read_text()), yaml.load(SPLIT.read_text(), _Loader) if split else {})  # noqa: S506  # of a safe loader
    found: dict[str, Any] = _interpolated(raw, {**known, **(environ or {})})
    for service in found["services"].values():
        named = service.get("env_file", [])
        assert named in ([], [{"path": ".env", "required": False}]), named
        service["environment"] = {**(known if named else {}), **_strings(service.get("environment", {}))}
    return found


def _laid_over(file: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    services = dict(file["services"])
    for name, service in other.get("services", {}).items():
        assert service.keys() <= {"extends", "command", "ports", "profiles"}, service  # others may be merged, not replaced
        own, extended = dict(service), service.get("extends", {"service": name})
        own.pop("extends", None)
        services[name] = {**file["services"][extended["service"]], **own}
    services = {name: service for name, service in services.items() if "together" not in service.get("profiles", ())}
    return {**file, "services": services, "configs": {**file["configs"], **other.get("configs", {})}}


def _strings(values: Mapping[str, Any]) -> dict[str, str]:
    assert all(isinstance(value, str) for value in values.values()), values  # else YAML and Compose may read them differently
    return dict(values)


def _interpolated(value: Any, known: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _interpolated(each, known) for name, each in value.items()}
    if isinstance(value, list):
        return [_interpolated(each, known) for each in value]
    return VARIABLE.sub(lambda match: _value_of(match, known), value) if isinstance(value, str) else value


def _value_of(match: re.Match[str], known: Mapping[str, str]) -> str:
    if match["dollar"]:
        return "$"
    name, rule, rest = match["bare"] or match["name"], match["rule"] or "", match["rest"] or ""
    text = known.get(name)
    there = bool(text) if rule.startswith(":") else text is not None
    if rule.endswith("?") and not there:
        raise Missing(f"required variable {name} is missing a value: {_interpolated(rest, known)}")
    if rule.endswith("+"):
        return str(_interpolated(rest, known)) if there else ""
    return text or "" if there or not rule else str(_interpolated(rest, known))
