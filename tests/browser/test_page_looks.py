"""/ui can be read, heard and used by everyone, in both themes and on a phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Visit
from tests.browser.looks import barriers, faint, is_as_wide_as_the_window
from tests.browser.pictures import take_pictures
from tests.http.serving import PROJECT, Served

MOST_BYTES = 120_000
LONG = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 20

_SHOW_PROBLEM = """() => {
  document.getElementById("problem-title").textContent = "A title";
  document.getElementById("problem-detail").textContent = "A sentence";
  for (const part of document.querySelectorAll("#problem, #problem [hidden], form [hidden]"))
    part.hidden = false;
}"""


def show_everything(page: Page) -> None:
    """Bring out what a visitor may get to see: an answer, the card, a problem with a key form."""
    page.get_by_label("Texts, one a line").fill(f"a joy\na bore\n{LONG}")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("table", name="Answer")).to_be_visible()
    page.get_by_text("Model card").click()
    expect(page.get_by_role("heading", name="Lineage")).to_be_visible()
    page.evaluate(_SHOW_PROBLEM)


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1280), ("dark", 360)], ids=["light desk", "dark phone"]
)
def test_everyone_can_use_the_page(visit: Visit, service: Served, scheme: str, width: int) -> None:
    """Enough contrast, nothing for axe to find, and no scrolling sideways."""
    page = visit(service, scheme=scheme, width=width)
    show_everything(page)

    assert is_as_wide_as_the_window(page)
    assert faint(page) == []
    assert barriers(page) == []
    marks = page.locator(".label").evaluate_all(
        "labels => labels.map(l => getComputedStyle(l, '::before').backgroundColor)"
    )
    assert marks[0] != marks[1] == "rgba(0, 0, 0, 0)"  # filled and hollow: not by colour alone

    page.get_by_label("Texts, one a line").fill("")
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("#count")).to_have_text("Type a text first.")
    assert faint(page) == []
    assert barriers(page) == []


def test_names_and_roles(visit: Visit, service: Served) -> None:
    """What a screen reader tells of the page, part by part."""
    page = visit(service)
    page.get_by_label("Texts, one a line").fill("a joy")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("table", name="Answer")).to_be_visible()

    expect(page.get_by_role("main")).to_match_aria_snapshot("""
      - main:
        - heading "Classify texts" [level=1]
        - textbox "Texts, one a line": a joy
        - button "Classify"
        - region "Answer":
          - heading "Answer" [level=2]
          - table "Answer":
            - rowgroup:
              - row:
                - columnheader "Line"
                - columnheader "Text"
                - columnheader "Label"
                - columnheader "Score"
            - rowgroup:
              - row /1 a joy positive 0\\.\\d{4}/
        - region "The same with curl":
          - button "Copy"
          - group "The same with curl"
        - status: /1 text in \\d+ ms. 1 positive\\./
        - complementary "Model":
          - heading "Model" [level=2]
        - group:
          - heading "Model card" [level=2]
    """)
    expect(page.get_by_role("textbox")).to_have_accessible_description(
        "Ctrl Enter runs it. Up to 64 texts of 8,192 characters."
    )


def test_pictures_can_be_taken(browser: Browser, service: Served, tmp_path: Path) -> None:
    """Those in docs/ can be made again; none is large, and the page shows each."""
    page = (PROJECT / "docs" / "ui.md").read_text("utf-8")

    for path in take_pictures(browser, service.url, tmp_path):
        assert path.stat().st_size < MOST_BYTES
        assert (PROJECT / "docs" / path.name).stat().st_size < MOST_BYTES
        assert f"({path.name})" in page
