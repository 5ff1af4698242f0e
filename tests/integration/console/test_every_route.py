"""Every route of the console: its status for each role, and its response headers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pytest

from console import application
from tests.console import READER, scripts_of, visitor

if TYPE_CHECKING:
    from tests.gateways import Gateway, StartGateway

ID: Final = "01936d3e-0000-7000-8000-000000000000"
ROUTES: Final = [
    (route.method, "/console" + re.sub(r"\{\w+\}", ID, route.path))
    for screen in application.SCREENS_SHOWN
    for route in screen.routes
]
READS: Final = [path for method, path in ROUTES if method == "GET"]
CHANGES: Final = [path for method, path in ROUTES if method == "POST"]

each_read = pytest.mark.parametrize("path", READS)


def test_there_are_screens() -> None:
    assert "/console/overview" in READS


async def test_nothing_is_shown_without_a_session(gateway: Gateway, database_url: str) -> None:
    stranger = await visitor(gateway, database_url, role=None)
    for path in [*READS, "/console/nowhere"]:
        answer = await stranger.get(path)
        assert (answer.status, 'name="token"' in answer.text, answer.headers["HX-Refresh"]) == (401, True, "true"), path


async def test_nothing_is_done_without_a_session(gateway: Gateway, database_url: str) -> None:
    stranger = await visitor(gateway, database_url, role=None)
    for path in [*CHANGES, "/console/sign-out"]:
        assert (await stranger.post(path)).status == 401, path


async def test_nothing_is_done_by_a_form_of_another_session_or_site(gateway: Gateway, database_url: str) -> None:
    operator = await visitor(gateway, database_url)
    for path in [*CHANGES, "/console/sign-out"]:
        for wrong in ("", "0" * 64, (await visitor(gateway, database_url)).form_token):
            assert (await operator.post(path, form_token=wrong)).status == 403, path
        assert (await operator.post(path, headers={"Sec-Fetch-Site": "same-site"})).status == 403, path


async def test_a_session_that_reads_changes_nothing(start_gateway: StartGateway, database_url: str) -> None:
    async with start_gateway(READ_API_TOKEN=READER) as gateway:
        reader = await visitor(gateway, database_url, role="reader")
        for path in CHANGES:
            answer = await reader.post(path)
            assert (answer.status, "token_read_only" in answer.text) == (403, True), path
        assert (await reader.post("/console/sign-out")).status == 303


async def test_every_page_allows_no_script_but_ours_and_is_never_cached(gateway: Gateway, database_url: str) -> None:
    operator = await visitor(gateway, database_url)
    for path in READS:
        answer = await operator.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert answer.status in {200, 404}, (path, answer.text)
        assert ("unsafe" in policy, "default-src 'none'" in policy, "frame-ancestors 'none'" in policy) == (False, True, True)
        assert (scripts_of(answer.text), answer.headers["Cache-Control"]) == ([], "no-store"), path


@pytest.mark.parametrize(("headers", "whole"), [({}, True), ({"HX-Request": "true"}, False)])
async def test_an_error_of_ours_is_a_page_with_its_trace(
    gateway: Gateway,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    headers: dict[str, str],
    whole: bool,
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a fault of ours, with its detail")

    monkeypatch.setattr("operations.dead_letters.listing.read", broken)
    operator = await visitor(gateway, database_url)
    answer = await operator.get(f"/console/dead-letters/{ID}/detail", headers=headers)
    trace = answer.headers["X-Trace-Id"]
    assert (answer.status, "<html" in answer.text, trace in answer.text) == (500, whole, True)
    assert ("internal_error" in answer.text, "a fault of ours" in answer.text) == (True, False)
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


async def test_files_are_kept_by_their_digest(gateway: Gateway, database_url: str) -> None:
    stranger = await visitor(gateway, database_url, role=None)
    page = await stranger.get("/console/sign-in")
    (style,) = re.findall(r"/console/static/\w+/console\.css", page.text)
    answer = await stranger.get(style)
    assert (answer.status, "immutable" in answer.headers["Cache-Control"]) == (200, True)
    assert (await stranger.get("/console/static/old/console.css")).headers["Cache-Control"] == "no-cache"
    assert (await stranger.get("/console/static/old/nothing.css")).status == 404


async def test_a_refusal_of_the_server_is_shown_with_its_reason(start_gateway: StartGateway, database_url: str) -> None:
    async with start_gateway(MAX_BODY_BYTES="2000") as gateway:
        operator = await visitor(gateway, database_url)
        found = [await operator.get("/console/nowhere"), await operator.post("/console/overview")]
        found += [await operator.post("/console/replays", reason="x" * 3000)]
    reasons = ("not_found", "method_not_allowed", "body_too_large")
    assert [(each.status, reason in each.text) for each, reason in zip(found, reasons, strict=True)] == [
        (404, True), (405, True), (413, True),
    ]  # fmt: skip
    assert found[1].headers["Allow"] == "GET,HEAD"


async def test_both_spellings_of_the_console_lead_home(gateway: Gateway, database_url: str) -> None:
    operator = await visitor(gateway, database_url)
    for path in ("/console", "/console/"):
        answer = await operator.get(path)
        assert (answer.status, answer.headers["Location"]) == (303, "/console/overview")


async def test_the_world_has_no_console(gateway: Gateway) -> None:
    assert (await gateway.client.get(f"{gateway.public}/console/sign-in")).status == 404


async def test_a_part_is_refused_in_its_place_and_a_page_by_a_page(gateway: Gateway, database_url: str) -> None:
    operator = await visitor(gateway, database_url)
    part = await operator.post(f"/console/dead-letters/{ID}", headers={"HX-Request": "true"}, verb="retry")
    page = await operator.post(f"/console/dead-letters/{ID}", verb="retry")
    assert (part.status, page.status) == (404, 404)
    assert ("<html" in part.text, "not_found" in part.text, "<html" in page.text) == (False, True, True)
