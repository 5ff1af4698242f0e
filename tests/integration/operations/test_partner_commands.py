"""`tallyhook partners`: the work of an operator without HTTP, and the import from a file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest

from runtime.seals import new_key
from runtime.settings import Secret
from tests.command import tallyhook_beside
from tests.simulators.crm import SECRET, running_crm, status

if TYPE_CHECKING:
    from pathlib import Path

KEY: Final = new_key()


@pytest.fixture
def environment(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    monkeypatch.chdir(tmp_path)
    found = {"DATABASE_URL": database_url, "SECRET_KEYS": KEY, "OUTBOUND_ALLOW": "127.0.0.0/8", "PATH": "/usr/bin"}
    return found | {"PARTNER_SET_SECRET": "set-secret-of-the-settings"}


async def partners(environment: dict[str, str], *words: str, typed: str = "") -> Any:
    done = await tallyhook_beside(environment, "partners", *words, "--json", typed=typed)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def refused(environment: dict[str, str], *words: str) -> str:
    done = await tallyhook_beside(environment, "partners", *words)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr


async def test_a_partner_is_put_changed_rotated_and_removed(environment: dict[str, str], database_url: str) -> None:
    made = await partners(environment, "put", "acme-co", "--crm-url", "https://crm.example.com/x", "--timeout", "5s", "--paused")
    secrets = {each["kind"]: each["value"] for each in made["newSecrets"]}
    assert {*secrets} == {"signing", "crm"}
    changed = await partners(environment, "put", "acme-co", "--running", "--unset", "timeoutSeconds", "--rate", "5/second")
    assert (changed["newSecrets"], changed["partner"]["rate"], changed["partner"]["crm"]) == (
        [],
        "5/second",
        "https://crm.example.com",
    )
    assert "timeoutSeconds" not in changed["partner"]
    assert "paused" not in changed["partner"]
    await partners(environment, "add-secret", "acme-co", "--for", "signing", "--own", typed="one-that-there-was-before\n")
    await partners(environment, "drop-secret", "acme-co", Secret(secrets["signing"]).id)
    shown = await partners(environment, "show", "acme-co")
    assert [each["id"] for each in shown["secrets"] if each["kind"] == "signing"] == [Secret("one-that-there-was-before").id]
    assert await partners(environment, "remove", "acme-co", "--yes") == {"id": "ACME_CO", "removed": True}
    assert "not_found" in await refused(environment, "show", "acme-co")
    with psycopg.connect(database_url) as connection:
        logged = [path for (path,) in connection.execute("select path from audit_log order by id").fetchall()]
    assert [line.removeprefix("tallyhook partners ").partition(" ")[0] for line in logged] == [
        "put", "put", "add-secret", "drop-secret", "remove",
    ]  # fmt: skip
    assert not any(secret in str(logged) for secret in secrets.values())


async def test_ids_that_differ_in_their_separators_only_are_not_mixed_up(environment: dict[str, str], tmp_path: Path) -> None:
    await partners(environment, "put", "acme-co")
    for words in (("put", "acme.co", "--paused"), ("remove", "acme.co", "--yes"), ("add-secret", "acme_co", "--for", "token")):
        text = await refused(environment, *words)
        assert "partner_id_taken" in text
        assert "acme-co" in text
    (tmp_path / "more.json").write_text(json.dumps([{"id": "acme_co"}]))
    for words in (("import", "more.json"), ("import", "more.json", "--dry-run")):
        assert "partner_id_taken" in await refused(environment, *words)
    assert (await partners(environment, "put", "ACME_CO", "--paused"))["partner"]["paused"] is True


async def test_the_list_names_a_partner_of_the_database_behind_one_of_the_settings(environment: dict[str, str]) -> None:
    without = {name: text for name, text in environment.items() if name != "PARTNER_SET_SECRET"}
    await partners(without, "put", "set")
    assert (await partners(without, "list"))["ignored"] == []
    assert (await partners(environment, "list"))["ignored"] == ["SET"]
    done = await tallyhook_beside(environment, "partners", "list")
    assert "SET is in the settings and in the database; the one in the database is ignored" in done.stdout


async def test_all_sealed_under_an_old_key_are_sealed_under_the_newest(environment: dict[str, str]) -> None:
    await partners(environment, "put", "acme")
    await partners(environment, "put", "other")
    newest = new_key()
    both = environment | {"SECRET_KEYS": f"{newest},{KEY}"}
    assert (await partners(both, "reseal"))["resealed"] == ["ACME", "OTHER"]
    assert (await partners(both, "reseal"))["resealed"] == []
    assert (await partners(environment | {"SECRET_KEYS": newest}, "show", "acme")).get("unreadable") is None
    assert "seal_unreadable" in await refused(environment, "put", "acme", "--paused")


async def test_a_test_lead_shows_its_request_and_the_answer(environment: dict[str, str]) -> None:
    async with running_crm() as crm:
        await partners(environment, "put", "acme", "--crm-url", f"{crm.url}/acme", "--crm-header", "X-Key=hidden-value")
        await partners(environment, "add-secret", "acme", "--for", "crm", "--own", typed=f"{SECRET}\n")
        report = await partners(environment, "test", "acme")
        assert report["answer"]["status"] == 204
        assert json.loads(report["request"]["body"])["type"] == "lead.partner.test"
        assert {"webhook-id", "webhook-signature", "webhook-timestamp"} <= {*report["request"]["headers"]}
        assert len(report["request"]["headers"]["webhook-signature"].split(" ")) == 2, (
            "of the secret that was made and of the added"
        )
        assert "hidden-value" not in json.dumps(report)
        assert len(crm.taken) == 1
        crm.answers("/acme", status(500, "we are closed"))
        done = await tallyhook_beside(environment, "partners", "test", "acme")
    assert done.returncode == 1
    assert "we are closed" in done.stdout
    assert "crm_failing" in done.stderr


CSV: Final = """id,crmUrl,concurrency,paused
acme,https://crm.example.com/a,3,true
other-co,,,
"""


async def test_a_file_is_taken_as_a_whole_after_a_dry_run(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "partners.csv").write_text(CSV)
    dry = await partners(environment, "import", "partners.csv", "--dry-run")
    assert (dry["added"], dry["changed"], dry["newSecrets"]) == (2, 0, [])
    assert "not_found" in await refused(environment, "show", "acme")
    done = await partners(environment, "import", "partners.csv")
    assert (done["added"], {each["partner"] for each in done["newSecrets"]}) == (2, {"ACME", "OTHER_CO"})
    shown = await partners(environment, "show", "acme")
    assert (shown["concurrency"], shown["paused"]) == (3, True)
    (tmp_path / "more.json").write_text(
        json.dumps([{"id": "acme", "crmUrl": "https://crm.example.com/b", "crmHeaders": {"X": "y"}, "concurrency": 2.0}])
    )
    assert (await partners(environment, "import", "more.json"))["changed"] == 1
    assert (await partners(environment, "show", "acme"))["concurrency"] == 2


async def test_a_line_of_csv_keeps_the_terms_without_a_column_and_an_object_of_json_replaces_all(
    environment: dict[str, str], tmp_path: Path
) -> None:
    crm = ("--crm-url", "https://crm.example.com/a", "--crm-header", "X-Key=hidden", "--crm-header", "X-Old=gone")
    await partners(environment, "put", "acme", *crm, "--rate", "5/second", "--concurrency", "2", "--paused")
    before = await partners(environment, "show", "acme")
    (tmp_path / "partners.csv").write_text("id,concurrency,rate\nacme,3,\nnew,4,\n")
    expected = [{"partner": "ACME", "changed": ["concurrency"], "removed": ["rate"]}]
    assert (await partners(environment, "import", "partners.csv", "--dry-run"))["terms"] == expected
    assert (await partners(environment, "show", "acme")) == before
    text = (await tallyhook_beside(environment, "partners", "import", "partners.csv", "--dry-run")).stdout
    assert "ACME: changes concurrency; removes rate\n" in text
    assert (await partners(environment, "import", "partners.csv"))["terms"] == expected
    shown = await partners(environment, "show", "acme")
    assert (shown["concurrency"], shown["paused"], shown["crm"], shown["crmHeaders"], shown.get("rate")) == (
        3, True, "https://crm.example.com", ["X-Key", "X-Old"], None,
    )  # fmt: skip
    (tmp_path / "partners.json").write_text(json.dumps([{"id": "acme", "concurrency": 3, "crmHeaders": {"x-key": None}}]))
    replaced = await partners(environment, "import", "partners.json")
    assert replaced["terms"] == [{"partner": "ACME", "changed": [], "removed": ["crmHeaders.x-old", "crmUrl", "paused"]}]
    assert "hidden" not in str(replaced)
    shown = await partners(environment, "show", "acme")
    assert (shown["crmHeaders"], shown.get("paused"), shown.get("crm")) == (["x-key"], None, None)


@pytest.mark.parametrize("number", [None, 5, True, ["a"], {}])
async def test_an_id_that_is_no_text_is_refused(environment: dict[str, str], tmp_path: Path, number: object) -> None:
    (tmp_path / "partners.json").write_text(json.dumps([{"id": "good"}, {"id": number}]))
    text = await refused(environment, "import", "partners.json")
    assert "partner 2 (" in text
    assert "field_invalid: `id` is " in text
    for name in ("good", "none"):
        assert "not_found" in await refused(environment, "show", name)


async def test_one_fault_in_a_file_changes_nothing_and_all_are_named(environment: dict[str, str], tmp_path: Path) -> None:
    rows = [
        {"id": "good"}, {"id": "b/d"}, {"id": "acme", "concurrency": 0}, {"id": "set"}, {"id": "GOOD"}, {},
        {"id": "in", "crmUrl": "http://10.0.0.1/"}, {"id": "typo", "crmUrI": "https://x.example"},
    ]  # fmt: skip
    (tmp_path / "partners.json").write_text(json.dumps(rows))
    for words in (("import", "partners.json"), ("import", "partners.json", "--dry-run")):
        text = await refused(environment, *words)
        assert all(f"partner {number} " in text for number in (2, 3, 4, 5, 6, 7, 8)), text
        assert "partner 1 (" not in text.partition("partner 5")[0]
    assert "not_found" in await refused(environment, "show", "good")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("partners.json", "{"),
        ("partners.json", "[1]"),
        ("partners.json", '{"id": "a"}'),
        ("partners.json", ""),
        ("partners.json", "[" * 100_000),
        ("partners.json", '[{"id": "good"}, {"id": "other", "timeoutSeconds": NaN}]'),
        ("partners.csv", "name\ngood\n"),
        ("partners.csv", f"id,crmUrl\ngood,\nother,{'x' * 131_073}\n"),
        ("partners.csv", "id,crmUrl\ngood,\nother,,surplus\n"),
        ("partners.csv", "id,paused\ngood,\nother,\0\n"),
    ],
)
async def test_a_file_that_is_no_list_of_rows_is_refused_as_a_whole(
    environment: dict[str, str], tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    error = await refused(environment, "import", name)
    assert error.startswith(f"tallyhook: file_malformed: {name}: ")
    assert error.count("\n") == 1
    assert "not_found" in await refused(environment, "show", "good")


async def test_a_file_that_is_not_there_or_not_utf_8_is_refused_as_the_others_are(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "utf16.json").write_bytes('[{"id": "good"}]'.encode("utf-16"))
    assert "file_malformed: utf16.json: it is UTF-16" in await refused(environment, "import", "utf16.json")
    (tmp_path / "latin.csv").write_bytes(b"id,crmUrl\ngood,https://crm.example.com/\xe4\n")
    assert "file_malformed: latin.csv: line 2: it is not UTF-8" in await refused(environment, "import", "latin.csv")
    assert "file_unreadable: nowhere.csv: " in await refused(environment, "import", "nowhere.csv")
    assert "file_unreadable: .: " in await refused(environment, "import", ".")


async def test_a_byte_order_mark_is_no_part_of_a_file_nor_of_a_secret(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "partners.json").write_text('[{"id": "acme"}]', "utf-8-sig")
    assert (await partners(environment, "import", "partners.json"))["added"] == 1
    assert (await partners(environment, "import", "-", typed='\ufeff[{"id": "acme"}, {"id": "other"}]'))["added"] == 1
    await partners(environment, "add-secret", "acme", "--for", "signing", "--own", typed="\ufeffa-secret-that-there-was\n")
    shown = await partners(environment, "show", "acme")
    assert Secret("a-secret-that-there-was").id in {each["id"] for each in shown["secrets"]}


async def test_a_partner_is_paused_where_that_is_decided_and_resumed_whatever_holds_it(
    environment: dict[str, str], database_url: str
) -> None:
    def set_key(value: str) -> None:
        with psycopg.connect(database_url) as connection:
            connection.execute(
                """insert into config (key, value, version) values ('partner.OWN.paused', %s, 1)
                   on conflict (key) do update set value = excluded.value""",
                (value,),
            )

    async def pause(verb: str, partner: str) -> tuple[bool, str]:
        found = await partners(environment, verb, partner)
        return found["paused"], found["by"]

    await partners(environment, "put", "own")
    assert [await pause(verb, "own") for verb in ("pause", "pause", "resume")] == [
        (True, "terms"), (True, "terms"), (False, "terms"),
    ]  # fmt: skip
    assert [await pause(verb, "set") for verb in ("pause", "resume")] == [(True, "configuration"), (False, "configuration")]
    set_key("false")  # overrides the terms, which alone would hold no lead back
    assert [await pause(verb, "own") for verb in ("pause", "resume")] == [(True, "configuration"), (False, "terms")]
    await partners(environment, "put", "own", "--paused")
    set_key("true")
    assert [await pause(verb, "own") for verb in ("resume", "pause")] == [(False, "configuration"), (True, "configuration")]
    assert "not_found" in await refused(environment, "pause", "nobody")
    with psycopg.connect(database_url) as connection:
        values = connection.execute(
            "select value from config_history where key = 'partner.SET.paused' order by version"
        ).fetchall()
    assert values == [(True,), (None,)]
