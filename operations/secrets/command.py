"""`tallyhook secrets`."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from operations.output import Json, show, with_database
from runtime.seals import new_key
from runtime.settings import Secret, environment
from schemas.credentials import fresh_signing_secret, fresh_token
from schemas.providers import Provider, either, providers

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from gateway.secrets.uses import Secrets, SecretState

app = typer.Typer(no_args_is_help=True, help="Our secrets: make new ones, and see which old ones may go.")


class _Kind(NamedTuple):
    setting: str
    make: Callable[[], str]
    steps: tuple[str, ...]


_FIRST: Final = "Put it first in {setting}, before the live one and a comma, and restart the gateways one after the other."
_LAST: Final = "Drop the old one once `tallyhook secrets list` shows that it is safe."


def _kind_of(provider: Provider) -> _Kind:
    def make() -> str:
        return provider.secret.prefix + fresh_token()

    steps = tuple(step.replace("{first}", _FIRST).replace("{last}", _LAST) for step in provider.secret.steps)
    return _Kind(provider.secret_setting, make, steps)


_KINDS: Final[dict[str, _Kind]] = {
    **{provider.name: _kind_of(provider) for provider in providers()},
    "partner": _Kind(
        "PARTNER_{ID}_SECRET",
        fresh_token,
        (_FIRST, "Give it to the partner, over a safe channel, to sign its leads with.", _LAST),
    ),
    "partner-token": _Kind(
        "PARTNER_{ID}_TOKEN",
        fresh_token,
        (_FIRST, "Give it to the partner, over a safe channel, to send as its bearer token.", _LAST),
    ),
    "crm": _Kind(
        "PARTNER_{ID}_CRM_SECRET",
        fresh_signing_secret,
        (
            "Put it first in {setting}, before the live one and a comma, and restart the leads workers.",
            "Deliveries now carry a signature of each.",
            "Give it to the partner, over a safe channel, to verify what we deliver.",
            "Drop the old one once the partner confirms that its CRM has the new one: only the partner knows.",
        ),
    ),
    "seal": _Kind(
        "SECRET_KEYS",
        new_key,
        (
            "Put it first in {setting}, before the live one and a comma: of gateways and leads workers.",
            "Run `tallyhook partners reseal`.",
            "Drop the old one.",
        ),
    ),
    "internal": _Kind("INTERNAL_API_TOKEN", fresh_token, (_FIRST, "Give it to the services that call /internal/v1/*.", _LAST)),
    "admin": _Kind("ADMIN_API_TOKEN", fresh_token, (_FIRST, "Give it to the operators.", _LAST)),
}


def _known(kind: str) -> str:
    if kind not in _KINDS:
        raise typer.BadParameter(f"{either(_KINDS)} is expected")
    return kind


@app.command("new")
def new(
    kind: Annotated[
        str, typer.Option("--for", metavar="|".join(_KINDS), callback=_known, help="The use of the secret.")
    ] = "internal",
    as_json: Json = False,
) -> None:
    """Make a fresh secret and print where to put it; it is stored nowhere."""
    setting, make, steps = _KINDS[kind]
    secret = Secret(make())
    todo = [step.format(setting=setting) for step in steps]
    lines = [f"{setting}={secret.value}", f"public id: {secret.id}", ""]
    lines += [f"{number}. {step}" for number, step in enumerate(todo, 1)]
    data = {"setting": setting, "secret": secret.value, "id": secret.id, "steps": todo, "runbook": _RUNBOOK}
    show(data, "\n".join([*lines, f"The whole plan: {_RUNBOOK}"]), as_json=as_json)


_RUNBOOK: Final = "runbooks/rotate-secrets.md"


@app.command("list")
def list_secrets(as_json: Json = False) -> None:
    """List every secret in the settings of this shell by its public id, its use, and whether it is safe to drop."""
    import msgspec

    found = with_database(_read)
    show(msgspec.to_builtins(found), _text(found), as_json=as_json)


async def _read(connection: "AsyncConnection") -> "Secrets":
    from gateway.settings import GatewaySettings
    from operations.secrets import states
    from projections.senders import Senders

    settings = GatewaySettings.load(environment())
    senders = Senders.of(settings)
    await senders.refresh(connection)
    return await states.read(connection, settings, senders)


def _text(found: "Secrets") -> str:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    for name, justify in _COLUMNS.items():
        table.add_column(name, justify=justify, no_wrap=name != "why")
    for each in found.items:
        table.add_row(*_row(each))
    console = Console(width=140, highlight=False, color_system=None)
    with console.capture() as captured:
        console.print(table)
        console.print(found.rule, style="dim")
        for change in found.changes[:_CHANGES]:
            ids = ", ".join(change.ids) or "none"
            console.print(f"{_time(change.at)} {change.process} {_OUTCOMES[change.outcome]} {change.setting}: {ids}")
    return captured.get().rstrip()


_CHANGES: Final = 20
_OUTCOMES: Final = {"taken": "took", "refused": "refused"}
_COLUMNS: Final[dict[str, Any]] = {
    "setting": "left",
    "id": "left",
    "place": "left",
    "last use": "left",
    "last hour": "right",
    "drop?": "left",
    "why": "left",
}


def _row(each: "SecretState") -> tuple[str, ...]:
    place = each.position or "gone"
    why = each.why + (f"; safe from {_time(each.safe_from)}" if each.safe_from else "")
    uses = "-" if each.uses_last_hour is None else f"{each.uses_last_hour:,}"
    return each.setting, each.id, place, _time(each.last_used_at), uses, "safe" if each.safe_to_drop else "no", why


def _time(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}Z" if moment else "-"
