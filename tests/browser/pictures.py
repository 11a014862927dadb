"""``python -m tests.browser.pictures`` writes the pictures of /ui that docs/ has."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, expect

from tests.browser.chromium import chromium
from tests.http.serving import PROJECT, serve

TEXTS = (
    "A charming and often affecting journey.",
    "Unflinchingly bleak and desperate",
    "",
    "It's a lovely film, although a little too long and at times rather too fond of itself.",
)
PICTURES: dict[str, tuple[Literal["light", "dark"], int]] = {
    "ui-light.png": ("light", 1120),
    "ui-dark.png": ("dark", 1120),
    "ui-phone.png": ("light", 360),
}
_COLOURS = 128


def main() -> int:
    """Write the pictures of the reference model's page into docs/."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(Path(folder)) as served,
        chromium() as browser,
    ):
        for path in take_pictures(browser, served.url, PROJECT / "docs"):
            print(path, path.stat().st_size)  # noqa: T201 - a command's result
    return 0


def take_pictures(browser: Browser, url: str, folder: Path) -> list[Path]:
    """Write a picture of the page at ``url`` for each theme and width."""
    for name, (scheme, width) in PICTURES.items():
        page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 720})
        page.goto(f"{url}/ui")
        page.get_by_label("Texts, one a line").fill("\n".join(TEXTS))
        page.get_by_role("button", name="Classify").click()
        expect(page.get_by_role("table", name="Answer")).to_be_visible()
        expect(page.get_by_text("Model card")).to_be_visible()
        page.mouse.move(0, 0)
        page.screenshot(path=folder / name, full_page=True, animations="disabled")
        page.close()
        with Image.open(folder / name) as picture:
            fewer = picture.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
        fewer.save(folder / name, optimize=True)
    return [folder / name for name in PICTURES]


if __name__ == "__main__":
    sys.exit(main())
