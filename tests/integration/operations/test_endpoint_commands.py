"""`tallyhook endpoints`: the same as over HTTP, in a shell; and the seals that endpoints share with partners."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest

from runtime.seals import new_key
from runtime.settings import Secret
from tests.command import tallyhook_beside
from tests.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateways import StartGateway

KEY: Final = new_key()
EU: Final = "whsec_of_the_european_account"


@pytest.fixture
def environment(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    monkeypatch.chdir(tmp_path)
    return {"DATABASE_URL": database_url, "SECRET_KEYS": KEY, "PATH": "/usr/bin"}


async def run(environment: dict[str, str], *words: str, typed: str = "") -> Any:
    done = await tallyhook_beside(environment, *words, "--json", typed=typed)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def refused(environment: dict[str, str], *words: str, typed: str = "") -> str:
    done = await tallyhook_beside(environment, *words, typed=typed)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr


async def test_an_endpoint_is_put_changed_rotated_and_removed(environment: dict[str, str], database_url: str) -> None:
    made = await run(environment, "endpoints", "put", "stripe/eu", "--label", "EU account", "--mode", "live")
    assert (made["endpoint"]["label"], made["endpoint"]["mode"], made["newSecrets"]) == ("EU account", "live", [])
    assert EU not in str(await run(environment, "endpoints", "add-secret", "stripe/eu", "--own", typed=f"{EU}\n"))
    changed = await run(environment, "endpoints", "put", "stripe/eu", "--unset", "mode", "--label", "Europe")
    assert (changed["endpoint"]["label"], "mode" in changed["endpoint"]) == ("Europe", False)
    assert [each["id"] for each in changed["endpoint"]["secrets"]] == [Secret(EU).id]
    listed = await run(environment, "endpoints", "list")
    assert [(each["provider"], each["id"], each["version"]) for each in listed["endpoints"]] == [("stripe", "eu", 3)]
    await run(environment, "endpoints", "drop-secret", "stripe/eu", Secret(EU).id)
    assert (await run(environment, "endpoints", "show", "stripe/eu")).get("secrets") is None
    await run(environment, "endpoints", "remove", "stripe/eu", "--yes")
    assert "not_found" in await refused(environment, "endpoints", "show", "stripe/eu")
    with psycopg.connect(database_url) as connection:
        logged = [path for (path,) in connection.execute("select path from audit_log order by id").fetchall()]
    assert logged == [
        "tallyhook endpoints put stripe/eu", "tallyhook endpoints add-secret stripe/eu", "tallyhook endpoints put stripe/eu",
        f"tallyhook endpoints drop-secret stripe/eu {Secret(EU).id}", "tallyhook endpoints remove stripe/eu",
    ]  # fmt: skip


async def test_every_fault_is_reported_at_once(environment: dict[str, str]) -> None:
    without_key = {name: value for name, value in environment.items() if name != "SECRET_KEYS"}
    error = await refused(without_key, "endpoints", "put", "paypal/EU", "--mode", "production")
    for part in ("the provider is not stripe or razorpay", "not a slug", "$.mode", "SECRET_KEYS is not set"):
        assert part in error, part
    assert "PROVIDER/ID" in await refused(environment, "endpoints", "put", "eu")
    await run(environment, "endpoints", "put", "stripe/eu")
    for typed, reason in (
        ("sk_live_4eC39HqLyjWDarjtT1zdp7dc", "secret_invalid"), ("no-secret-of-stripe", "secret_invalid"), ("", "field_invalid"),
    ):  # fmt: skip
        assert reason in await refused(environment, "endpoints", "add-secret", "stripe/eu", "--own", typed=f"{typed}\n")


@pytest.mark.parametrize("group", ["partners", "endpoints"])
async def test_a_new_key_seals_partners_and_endpoints_alike(environment: dict[str, str], group: str) -> None:
    await run(environment, "partners", "put", "acme")
    await run(environment, "endpoints", "put", "stripe/eu")
    await run(environment, "endpoints", "add-secret", "stripe/eu", "--own", typed=f"{EU}\n")
    newest = new_key()
    both = environment | {"SECRET_KEYS": f"{newest},{KEY}"}
    assert (await run(both, group, "reseal"))["resealed"] == ["ACME", "stripe/eu"]
    assert (await run(both, group, "reseal"))["resealed"] == []
    shown = await run(environment | {"SECRET_KEYS": newest}, "endpoints", "show", "stripe/eu")
    assert [each["id"] for each in shown["secrets"]] == [Secret(EU).id]
    assert "seal_unreadable" in await refused(environment, group, "reseal")


CSV: Final = f"""provider,id,label,mode,secret
stripe,eu,EU account,live,{EU}
razorpay,in,,,a-secret-of-our-own
"""


async def test_a_file_is_taken_as_a_whole_after_a_dry_run(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "endpoints.csv").write_text(CSV)
    dry = await run(environment, "endpoints", "import", "endpoints.csv", "--dry-run")
    assert dry == {"dryRun": True, "added": 2, "changed": 0}
    assert (await run(environment, "endpoints", "list"))["endpoints"] == []
    assert (await run(environment, "endpoints", "import", "endpoints.csv"))["added"] == 2
    shown = await run(environment, "endpoints", "show", "stripe/eu")
    assert (shown["label"], shown["mode"], [each["id"] for each in shown["secrets"]]) == ("EU account", "live", [Secret(EU).id])
    (tmp_path / "more.json").write_text(json.dumps([{"provider": "stripe", "id": "eu", "label": "Europe"}]))
    assert (await run(environment, "endpoints", "import", "more.json"))["changed"] == 1
    changed = await run(environment, "endpoints", "show", "stripe/eu")
    assert (changed["label"], changed["secrets"]) == ("Europe", shown["secrets"])


async def test_a_line_of_csv_keeps_what_has_no_column_and_an_object_of_json_replaces_it(
    environment: dict[str, str], tmp_path: Path
) -> None:
    await run(environment, "endpoints", "put", "stripe/eu", "--label", "EU account", "--mode", "test")
    (tmp_path / "endpoints.csv").write_text(f"provider,id,label,secret\nstripe,eu,,{EU}\n")
    assert (await run(environment, "endpoints", "import", "endpoints.csv"))["changed"] == 1
    shown = await run(environment, "endpoints", "show", "stripe/eu")
    assert (shown.get("label"), shown["mode"], [each["id"] for each in shown["secrets"]]) == (None, "test", [Secret(EU).id])
    (tmp_path / "endpoints.json").write_text(json.dumps([{"provider": "stripe", "id": "eu", "label": "Europe"}]))
    await run(environment, "endpoints", "import", "endpoints.json")
    shown = await run(environment, "endpoints", "show", "stripe/eu")
    assert (shown["label"], shown.get("mode"), len(shown["secrets"])) == ("Europe", None, 1)


@pytest.mark.parametrize("name", ["provider", "id"])
async def test_a_name_that_is_no_text_is_refused(environment: dict[str, str], tmp_path: Path, name: str) -> None:
    for value in (None, 5):
        row = {"provider": "stripe", "id": "eu"} | {name: value}
        (tmp_path / "endpoints.json").write_text(json.dumps([row]))
        assert f"field_invalid: `{name}` is " in await refused(environment, "endpoints", "import", "endpoints.json")
    assert (await run(environment, "endpoints", "list"))["endpoints"] == []


async def test_one_fault_in_a_file_changes_nothing_and_all_are_named(environment: dict[str, str], tmp_path: Path) -> None:
    rows = [
        {"provider": "stripe", "id": "good", "secrets": [EU]}, {"provider": "paypal", "id": "eu"}, {"id": "eu"}, {},
        {"provider": "stripe", "id": "E U"}, {"provider": "stripe", "id": "mode", "mode": "both"},
        {"provider": "stripe", "id": "secret", "secret": "sk_live_4eC39HqLyjWDarjtT1zdp7dc"},
        {"provider": "stripe", "id": "good"}, {"provider": "stripe", "id": "typo", "labl": "x"},
    ]  # fmt: skip
    (tmp_path / "endpoints.json").write_text(json.dumps(rows))
    for words in (("import", "endpoints.json"), ("import", "endpoints.json", "--dry-run")):
        text = await refused(environment, "endpoints", *words)
        assert all(f"endpoint {number} " in text for number in range(2, 10)), text
        assert "endpoint 1 (" not in text.partition("endpoint 8")[0]
        assert "sk_live" not in text
    assert (await run(environment, "endpoints", "list"))["endpoints"] == []


async def test_a_label_keeps_characters_that_end_a_line_elsewhere_and_a_mark_is_no_part_of_a_file(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "endpoints.csv").write_text('provider,id,label\nstripe,eu,"one\u2028line"\n', "utf-8-sig")
    assert (await run(environment, "endpoints", "import", "endpoints.csv"))["added"] == 1
    assert (await run(environment, "endpoints", "show", "stripe/eu"))["label"] == "one\u2028line"
    (tmp_path / "endpoints.csv").write_text("provider,id,id\nstripe,us,uk\n")
    assert "line 1: the column 'id' comes twice" in await refused(environment, "endpoints", "import", "endpoints.csv")
    (tmp_path / "endpoints.json").write_bytes(b"\xef\xbb\xbf[]")
    assert (await run(environment, "endpoints", "import", "endpoints.json"))["added"] == 0


@pytest.mark.parametrize(("place", "secret"), [("stripe/eu", EU), ("razorpay/in", "a-secret-of-our-own")])
async def test_a_test_event_goes_through_the_gateway_and_to_no_worker(
    environment: dict[str, str], start_gateway: StartGateway, place: str, secret: str
) -> None:
    assert "not_found" in await refused(environment, "endpoints", "test", place)
    await run(environment, "endpoints", "put", place, "--mode", "live")
    assert "has no secret" in await refused(environment, "endpoints", "test", place)
    for each in (secret, f"{secret}-newer"):
        await run(environment, "endpoints", "add-secret", place, "--own", typed=f"{each}\n")
    async with start_gateway(SECRET_KEYS=KEY) as gateway:

        async def known() -> Any:
            done = await tallyhook_beside(environment, "endpoints", "test", place, "--url", gateway.public, "--json")
            return json.loads(done.stdout) if done.returncode == 0 else None

        tried = await eventually(known)
        assert tried["url"] == f"{gateway.public}/v1/webhooks/{place}"
        assert [(each["id"], each["status"]) for each in tried["secrets"]] == [
            (Secret(f"{secret}-newer").id, 200),
            (Secret(secret).id, 200),
        ]
        taken = [row for row in await gateway.rows("webhook_deliveries") if row["outcome"] != "rejected"]
        assert {(row["outcome"], row["endpoint"]) for row in taken} == {("ignored", place.partition("/")[2])}
        assert await gateway.rows("outbox_pending") == []
        name = place.partition("/")[2]
        listed = await run(environment, "deliveries", "list", "--endpoint", name, "--outcome", "ignored")
        assert ({each["endpoint"] for each in listed["deliveries"]}, listed["more"]) == ({name}, False)
        assert (await run(environment, "deliveries", "list", "--endpoint", "another"))["deliveries"] == []
        assert place in (await tallyhook_beside(environment, "deliveries", "list")).stdout
        assert "query_malformed" in await refused(environment, "deliveries", "list", "--outcome", "lost")
        elsewhere = await refused(environment, "endpoints", "test", place, "--url", gateway.internal)
        assert "endpoint_refuses" in elsewhere
        assert secret not in elsewhere
