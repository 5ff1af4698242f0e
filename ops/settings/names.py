"""Finds names that are set but that no process reads, and the setting that was probably meant."""

import re
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher, get_close_matches
from typing import Final, NamedTuple

from ops.settings.kinds import ELSEWHERE, KINDS, OTHERS
from runtime.secret_files import SUFFIX, setting_of
from schemas.partners import FIELDS, partner_of

SETTINGS: Final = ELSEWHERE | {field.upper() for kind in (*KINDS, *OTHERS) for field in kind.model_fields if field != "partners"}
OF_SHELLS: Final = frozenset({"PUBLIC_URL", "INTERNAL_URL", "ADMIN_TOKEN"})
"""What `./dev env` adds for the commands of the runbooks, and no process reads."""
_NEAR: Final = 0.85
_SIMILAR: Final = 0.6
_OF_OTHERS: Final = frozenset({"POSTGRES", "OTEL"})
"""Families of which others have many more variables than we read."""
_FAMILIES: Final = frozenset({name.partition("_")[0] for name in SETTINGS} | {"PARTNER"}) - _OF_OTHERS
_ALIASES: Final = {
    **dict.fromkeys(("DB_URL", "PG_URL", "POSTGRES_URL", "POSTGRESQL_URL", "DATABASE_DSN", "POSTGRES_DSN"), "DATABASE_URL"),
    **dict.fromkeys(("ELASTIC_URL", "ES_URL", "OPENSEARCH_URL"), "ELASTICSEARCH_URL"),
    **dict.fromkeys(("KAFKA_BROKERS", "KAFKA_URL", "KAFKA_SERVERS", "BOOTSTRAP_SERVERS"), "KAFKA_BOOTSTRAP_SERVERS"),
}
# Kubernetes puts the address of every service of the namespace into the environment of each container.
_SERVICE_LINK: Final = re.compile(r".+_(SERVICE_(HOST|PORT)(_.+)?|PORT(_\d+_(TCP|UDP|SCTP)(_.+)?)?)")


class Unread(NamedTuple):
    """A name that nothing reads; `near` where it can be nothing but a slip for the `meant` one."""

    name: str
    meant: str | None
    near: bool


def unread(names: Iterable[str], *, families: bool) -> Iterator[Unread]:
    """Names that look like ours and are not; with `families` also those that only begin like ours."""
    for name in names:
        if _is_known(name):
            continue
        meant, near = _meant(name)
        if near or (families and (meant or name.partition("_")[0] in _FAMILIES)):
            yield Unread(name, meant, near)


def _is_known(name: str) -> bool:
    setting = setting_of(name) or name
    return setting in SETTINGS or partner_of(setting) is not None


def is_service_link(name: str) -> bool:
    return bool(_SERVICE_LINK.fullmatch(name))


def _meant(name: str) -> tuple[str | None, bool]:
    upper = name.upper().replace("-", "_").strip("_")
    if setting := setting_of(upper):
        meant, near = _meant(setting)
        return meant and meant + SUFFIX, near
    if upper in SETTINGS or partner_of(upper):
        return upper, True
    if get_close_matches(upper.partition("_")[0], ["PARTNER"], cutoff=_NEAR):
        found = _partners(upper)
        return found, found is not None
    if alias := _ALIASES.get(upper):
        return alias, False
    # MY_DATABASE_URL and DATABASE_URL_REPLICA are names that somebody has chosen, no slips.
    close = get_close_matches(upper, sorted(SETTINGS), 1, _NEAR)
    if close and not upper.endswith(f"_{close[0]}") and not upper.startswith(f"{close[0]}_"):
        return close[0], True
    family = upper.partition("_")[0]
    relatives = [known for known in SETTINGS if known.partition("_")[0] == family] if family in _FAMILIES else []
    return next(iter(get_close_matches(upper, sorted(relatives), 1, _SIMILAR)), None), False


def _partners(upper: str) -> str | None:
    """Guess the variable of a partner that was meant: it ends in one of four words after the id of the partner."""
    _, _, rest = upper.partition("_")
    if f"_{rest}" in FIELDS:
        return f"PARTNER_{{ID}}_{rest}"
    cuts = [place for place, letter in enumerate(rest) if letter == "_" and place]
    scored = [(SequenceMatcher(None, rest[cut:], end).ratio(), f"PARTNER_{rest[:cut]}{end}") for cut in cuts for end in FIELDS]
    score, found = max(scored, default=(0.0, ""))
    return found if score >= _SIMILAR else None
