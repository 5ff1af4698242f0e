"""
`python -m tests.picture`: the README's picture, the journey of the demo's payment on the running stack of this checkout.

Run `./dev up --detach` first. The picture shows the real console; nothing in it is drawn by hand.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from pathlib import Path
from typing import Final

from ops.demo import demo
from ops.stack.places import default_data_dir
from tests.browser import browser, opened

CHECKOUT: Final = Path(__file__).parents[1]
PICTURE: Final = CHECKOUT / "docs/journey.png"
BYTES_MAX: Final = 150_000
_WIDTH, _HEIGHT = 1180, 860
_LINK: Final = re.compile(r"https?://\S+/console/sign-in\?next=/console/journey/\S+")


async def take(link: str) -> bytes:
    """Follow the link, which signs in, and return a picture of the journey behind it."""
    async with browser() as chromium, opened(chromium, link, width=_WIDTH, height=_HEIGHT) as looked:
        await looked.page.wait_for_url("**/console/journey/*")
        await looked.page.locator(".steps li").first.wait_for()
        picture = await looked.page.screenshot()
        if looked.faults or len(picture) > BYTES_MAX:
            raise SystemExit(f"no picture: {looked.faults or f'{len(picture):,} bytes'}")
        return picture


def main() -> None:
    """Send the demo's events and take the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=default_data_dir(CHECKOUT))
    parser.add_argument("--to", type=Path, default=PICTURE)
    asked = parser.parse_args()
    printed: list[str] = []
    demo(CHECKOUT, asked.data_dir, printed.append)
    found = _LINK.search("\n".join(printed))
    if found is None:
        raise SystemExit("the demo printed no link to its payment's journey")
    asked.to.write_bytes(asyncio.run(take(found[0])))


if __name__ == "__main__":
    main()
