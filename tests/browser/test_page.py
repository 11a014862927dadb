"""/ui does in a real browser what it is for, by mouse and by keyboard."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Visit, run
from tests.http.serving import Served

LIGHT, DARK = "A charming and often affecting journey.", "Unflinchingly bleak and desperate"
LITERAL = [
    '<img src=x onerror="window.hit = 1"><script>window.hit = 1</script>',
    "Ça ne va pas du tout — 不好吃 🎉 مخيب للآمال",
    """It's "fine" & $HOME `id` \\n \\ %s !! #""",
    "a\u202eb\u2028c\u200bd\x7fe\tf",
]


def rows(page: Page) -> list[list[str]]:
    """Return the cells of the answer, once it is there."""
    table = page.get_by_role("table", name="Answer")
    expect(table).to_be_visible()
    return [row.get_by_role("cell").all_inner_texts() for row in table.get_by_role("row").all()[1:]]


def classify(service: Served, texts: list[str]) -> list[dict[str, Any]]:
    """Ask the service itself."""
    response = httpx.post(f"{service.url}/classify", json={"texts": texts}, timeout=30)
    predictions: list[dict[str, Any]] = response.json()["predictions"]
    return predictions


def focused(page: Page) -> Locator:
    """Return the element that has the focus."""
    return page.locator(":focus")


def test_texts_are_classified_by_mouse(visit: Visit, service: Served) -> None:
    """Each text gets the label and the score that the service gives it, and a bar as long."""
    page = visit(service)

    run(page, f"{LIGHT}\n{DARK}")

    first, second = classify(service, [LIGHT, DARK])
    assert rows(page) == [
        ["1", LIGHT, "positive", f"{first['score']:.4f}"],
        ["2", DARK, "negative", f"{second['score']:.4f}"],
    ]
    widths = page.locator(".bar").evaluate_all(
        "bars => bars.map(bar => bar.firstChild.offsetWidth / bar.offsetWidth)"
    )
    assert widths == pytest.approx([first["score"], second["score"]], abs=0.02)
    expect(page.locator("#status")).to_contain_text("1 positive, 1 negative.")


def test_keyboard_alone_is_enough(visit: Visit, service: Served) -> None:
    """Every control is reached by Tab with a visible focus, and works without the mouse."""
    page = visit(service)
    reached = []

    def tab() -> None:
        page.keyboard.press("Tab")
        outline = focused(page).evaluate("e => getComputedStyle(e).outline")
        assert "solid 2px" in outline, outline
        reached.append(focused(page).evaluate("e => e.id || e.textContent"))

    tab()
    tab()
    page.keyboard.type("a joy")
    page.keyboard.press("Control+Enter")
    assert [row[1] for row in rows(page)] == ["a joy"]
    page.keyboard.press("Enter")
    page.keyboard.type("a bore")
    tab()
    page.keyboard.press("Enter")
    expect(page.get_by_role("cell", name="a bore")).to_be_visible()
    tab()
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("The command was copied.")
    tab()
    tab()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Evaluation")).to_be_visible()
    assert reached == ["API", "texts", "run", "copy", "command", "Model card"]


def test_64_lines_keep_their_order_and_blank_ones_are_skipped(
    visit: Visit, service: Served
) -> None:
    """Each row names the line that its text stands on."""
    lines = [f"number {n} is {'good' if n % 3 else 'awful'}" for n in range(64)]
    page = visit(service)

    run(page, "\n \t\n" + "\n\n".join(lines) + "\n\n")

    answer = rows(page)
    assert [(row[0], row[1]) for row in answer] == [
        (str(3 + 2 * n), line) for n, line in enumerate(lines)
    ]
    assert [row[2] for row in answer] == [p["label"] for p in classify(service, lines)]
    expect(page.locator("#count")).to_have_text("64 texts, 65 blank lines skipped")


def test_nothing_typed_asks_for_a_text(visit: Visit, service: Served) -> None:
    """A blank field sends nothing, says why until it is filled, each time, and gets the focus."""
    page = visit(service)
    seen, heard = page.locator("#count"), page.locator("#status")

    run(page, " \n\t\n")

    expect(seen).to_have_text("Type a text first.")
    expect(heard).to_have_text("Type a text first.")
    expect(page.get_by_label("Texts, one a line")).to_be_focused()
    expect(page.get_by_role("table")).to_have_count(0)
    first = heard.text_content()
    page.keyboard.press("Control+Enter")
    expect(heard).to_have_text("Type a text first.")
    assert heard.text_content() != first  # or a screen reader keeps silent
    page.keyboard.type("a joy")
    expect(seen).to_have_text("1 text, 2 blank lines skipped")


def test_a_text_is_shown_as_it_is(visit: Visit, service: Served) -> None:
    """Markup, other scripts and quotes are text, and nothing of them runs."""
    page = visit(service)

    run(page, "\n".join(LITERAL))

    expect(page.get_by_role("table", name="Answer")).to_be_visible()
    assert page.locator("td.text p").all_text_contents() == LITERAL
    assert page.locator("main img, main script").count() == 0
    assert page.evaluate("window.hit") is None


@pytest.mark.parametrize(
    "texts",
    [["It's fine"], LITERAL, [f"{n} " + "très long " * 800 for n in range(18)]],
    ids=["an apostrophe", "whatever a shell would heed", "too long for an argument"],
)
def test_the_command_gives_the_same_answer(visit: Visit, service: Served, texts: list[str]) -> None:
    """What the copy button copies runs in a shell and gets what the page got."""
    page = visit(service)
    with page.expect_response(f"{service.url}/classify") as shown:
        run(page, "\n".join(texts))

    page.get_by_role("button", name="Copy").click()
    command = page.evaluate("navigator.clipboard.readText()")
    printed = subprocess.run(
        ["sh"], input=command.encode(), check=True, capture_output=True, timeout=30
    ).stdout

    assert command == page.locator("#command").text_content()
    assert json.loads(printed) == shown.value.json()
    assert len(json.loads(printed)["predictions"]) == len(texts)


def test_a_truncated_text_is_marked(visit: Visit, service: Served) -> None:
    """It is said in words, beside the text and aloud."""
    page = visit(service)

    run(page, "short\n" + "a long text to read again " * 60)

    short, long = rows(page)
    assert "Truncated: the model read its first 128 tokens only" in long[1]
    assert "Truncated" not in short[1]
    expect(page.locator("#status")).to_contain_text("1 truncated.")


def test_a_newer_request_cancels_the_older(visit: Visit, service: Served) -> None:
    """The page shows that it is busy; the last request is the one that is answered."""
    page = visit(service)
    cancelled: list[str] = []
    page.on("requestfailed", lambda request: cancelled.append(request.failure or ""))

    page.route("**/classify", lambda _route: None, times=1)  # held back, as on a slow line
    run(page, "the first one")
    expect(page.get_by_role("button", name="Classifying…")).to_be_visible()
    page.get_by_label("Texts, one a line").fill("the last one")
    page.keyboard.press("Control+Enter")

    expect(page.get_by_role("cell", name="the last one")).to_be_visible()
    expect(page.get_by_role("button", name="Classify", exact=True)).to_be_visible()
    assert len(rows(page)) == 1
    assert cancelled == ["net::ERR_ABORTED"]


def test_faults_lead_to_their_lines(visit: Visit, service: Served) -> None:
    """A 422 names each line as the field numbers it, and selects it."""
    page = visit(service)

    run(page, "fine\n\n" + "x" * 8193 + "\nfine too\n" + "é" * 9000)

    problem = page.get_by_role("region", name="The service refused these texts")
    expect(problem.get_by_role("listitem")).to_have_text(
        [
            "Line 3: 8,193 characters; 8,192 at the most",
            "Line 5: 9,000 characters; 8,192 at the most",
        ]
    )
    expect(page.get_by_role("textbox")).to_have_attribute("aria-invalid", "true")
    problem.get_by_role("button", name="Line 5").click()
    expect(page.get_by_role("textbox")).to_be_focused()
    assert page.evaluate("getSelection().toString()") == "é" * 9000

    run(page, "\n".join(["fine"] * 65))
    expect(problem.get_by_role("listitem")).to_have_text(["65 texts; 64 at the most"])
    run(page, "fine")
    expect(page.get_by_role("table", name="Answer")).to_be_visible()
    expect(problem).to_be_hidden()


def test_the_model_is_described(visit: Visit, service: Served) -> None:
    """Its figures stand beside the form; its card is rendered below, tables and lists included."""
    page = visit(service)

    figures = page.get_by_role("complementary", name="Model")
    expect(figures).to_contain_text("sentiment:reference-2")
    expect(figures).to_contain_text("0.9014")
    expect(figures).to_contain_text("int8")
    page.get_by_text("Model card").click()
    expect(page.get_by_role("cell", name="SST-2 (GLUE), test.tsv")).to_have_count(2)
    expect(page.get_by_role("listitem").filter(has_text="word_dropout: 0.15")).to_be_visible()
    assert "|" not in page.locator("#card-content").inner_text()
    assert "`" not in page.locator("#card-content").inner_text()


def test_the_page_leads_to_the_document_of_the_routes(visit: Visit, service: Served) -> None:
    """Its link is to Swagger UI, whose description leads back."""
    page = visit(service)

    link = page.get_by_role("link", name="API").evaluate("link => link.href")

    assert link == f"{service.url}/"
    assert "[/ui](ui)" in httpx.get(f"{service.url}/docs.json").json()["info"]["description"]
