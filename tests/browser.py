"""A real browser that needs no root: Chromium from an npm package, driven by Playwright."""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from playwright.async_api import async_playwright

from tests.needs import missing
from tests.npm import npm_package

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, ConsoleMessage, Page, Request

CHROMIUM: Final = "@sparticuz/chromium@153.0.0"
# The package unpacks the libraries that a bare machine lacks only if the environment looks like an AWS Lambda function.
_UNPACK: Final = 'import chromium from "@sparticuz/chromium"; await chromium.executablePath();'
_WITH_LIBRARIES: Final = {"AWS_EXECUTION_ENV": "AWS_Lambda_nodejs22.x"}
_LIMIT: Final = 120  # seconds

# Elements that reach beyond the right edge of the window, except those inside a box that can be scrolled.
_OVERFLOWING: Final = """
() => {
  const isScrolled = (node) => ["auto", "scroll"].includes(getComputedStyle(node).overflowX);
  const scrolls = (node) => node && (isScrolled(node) || scrolls(node.parentElement));
  const describe = (node) => `${node.tagName} ${node.textContent.trim().slice(0, 40)}`;
  return [...document.body.querySelectorAll("*")]
    .filter((node) => node.getBoundingClientRect().right > innerWidth + 1 && !scrolls(node))
    .map(describe);
}
"""
# Figures of a table of which a line ends within a word: they have more lines than words.
_CRUSHED: Final = """
() => {
  const lines = (text) => {
    const range = document.createRange();
    range.selectNode(text);
    return new Set([...range.getClientRects()].map((box) => Math.round(box.bottom))).size;
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const text = walker.currentNode;
    const words = text.data.trim().split(/\\s+/).length;
    if (text.parentElement.closest("td.number") && lines(text) > words) found.push(text.data.trim());
  }
  return found;
}
"""
_FONTS: Final = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{fonts}</dir><cachedir>{cache}</cachedir></fontconfig>
"""


class Looked(NamedTuple):
    """A page of a browser, and what went wrong on it since it was opened."""

    page: Page
    faults: list[str]

    async def overflowing(self) -> list[str]:
        """Return the elements that are cut off at the right or make the whole page scroll sideways."""
        found: list[str] = await self.page.evaluate(_OVERFLOWING)
        return found

    async def crushed(self) -> list[str]:
        """Return the figures of tables that are broken within a word."""
        found: list[str] = await self.page.evaluate(_CRUSHED)
        return found


def chromium() -> Path:
    """The folder with the program and its libraries, unpacked once into the cache that all stacks share."""
    package = npm_package(CHROMIUM)
    folder = package / "unpacked"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=package, prefix=".") as name:
            fresh = Path(name) / "fresh"
            fresh.mkdir()
            command = ["node", "--input-type=module", "-e", _UNPACK]
            environment = os.environ | _WITH_LIBRARIES | {"TMPDIR": str(fresh)}
            done = subprocess.run(
                command, cwd=package, env=environment, capture_output=True, text=True, timeout=_LIMIT, check=False
            )
            if done.returncode:
                missing(f"no browser: node cannot unpack it: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
            if not folder.exists():
                fresh.rename(folder)
    return folder


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    folder = chromium()
    with tempfile.TemporaryDirectory(prefix="tallyhook-browser-") as home:
        fonts = Path(home) / "fonts.conf"  # the package's own file names folders below /tmp; without a font the browser exits
        fonts.write_text(_FONTS.format(fonts=folder / "fonts" / "fonts", cache=home))
        environment = {
            "HOME": home,
            "LD_LIBRARY_PATH": str(folder / "al2023" / "lib"),
            "FONTCONFIG_FILE": str(fonts),
        }
        async with async_playwright() as playwright:
            started = await playwright.chromium.launch(executable_path=folder / "chromium", env=dict(environment))
            yield started
            await started.close()


@asynccontextmanager
async def opened(browser: Browser, url: str, *, width: int, height: int = 900) -> AsyncIterator[Looked]:
    """
    The page in a window of that size.

    Every message of its console, every error of its scripts, every request that fails and every one to another server is a fault.
    """
    page = await browser.new_page(viewport={"width": width, "height": height}, locale="en-US")
    looked, ours = Looked(page, []), urlsplit(url).netloc

    def logged(message: ConsoleMessage) -> None:
        looked.faults.append(f"console: {message.type} {message.text}")

    def requested(request: Request) -> None:
        if urlsplit(request.url).netloc != ours:
            looked.faults.append(f"a request elsewhere: {request.url}")

    def failed(request: Request) -> None:
        if request.resource_type != "eventsource":  # a page that is left ends its stream
            looked.faults.append(f"failed: {request.url} {request.failure}")

    page.on("console", logged)
    page.on("pageerror", lambda error: looked.faults.append(f"script: {error}"))
    page.on("request", requested)
    page.on("requestfailed", failed)
    await page.goto(url)
    try:
        yield looked
    finally:
        await page.close()
