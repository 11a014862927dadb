"""/ui says in words why there is no answer, and what to do next; nothing of a model runs in it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit, run
from tests.http.serving import PROJECT, Served, serve
from textclf.artifact import GRAPH, TOKENIZER, read_artifact, write_description, write_golden

MARKUP = '<img src=x onerror="window.hit = 1">'
KEYS = {"wéb key": "", "slow": ":rate=0.05,burst=1"}


@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[Served]:
    """Serve a model whose labels and card hold markup to those who have a key."""
    keys = tmp_path / "keys"
    keys.write_text(
        "".join(
            f"name{number}:{hashlib.sha256(key.encode()).hexdigest()}{limit}\n"
            for number, (key, limit) in enumerate(KEYS.items())
        )
    )
    model = write_hostile_model(tmp_path / "model")
    with serve(tmp_path, API_KEYS_FILE=str(keys), MODEL=str(model), DRAIN_SECONDS="4") as served:
        yield served


def write_hostile_model(folder: Path) -> Path:
    """Write the reference model with markup wherever a model may have text."""
    folder.mkdir()
    reference = read_artifact(PROJECT / "models" / "reference")
    for name in (GRAPH, TOKENIZER):
        shutil.copy(reference.folder / name, folder)
    labels = {label: f"<b>{label}</b>{MARKUP}" for label in reference.description.labels}
    golden = [e.model_copy(update={"label": labels[e.label]}) for e in reference.golden]
    write_golden(folder / "golden.jsonl", golden)
    changes = {
        "labels": list(labels.values()),
        "positive_label": labels["positive"],
        "training": {MARKUP: f"<script>window.hit = 1</script>\n\n- `{MARKUP}`\n- **{MARKUP}**"},
        "files": {},
    }
    write_description(folder, reference.description.model_copy(update=changes))
    return folder


def give_key(page: Page, key: str, *, press: str = "Enter") -> None:
    """Type a key where it is asked for, and press keys that send it."""
    expect(page.get_by_label("Key", exact=True)).to_be_focused()
    page.keyboard.type(key)
    page.keyboard.press(press)


def test_a_service_with_keys(visit: Visit, keyed: Served) -> None:
    """A key is asked for, kept in memory alone, and slowed down, until the service drains."""
    page = visit(keyed)
    model = page.get_by_role("complementary", name="Model")
    expect(model).to_contain_text("Shown once you have given a key")

    run(page, "It's fine")
    expect(page.get_by_role("alert")).to_contain_text("This service asks for a key")
    give_key(page, "wrong")
    expect(page.get_by_role("alert")).to_contain_text("That key was not accepted")
    page.keyboard.type("wéb ")
    page.get_by_role("button", name="Classify").click()  # asks without it, and leaves it there
    give_key(page, "key")
    expect(page.get_by_role("cell", name=f"<b>positive</b>{MARKUP}")).to_be_visible()
    expect(page.get_by_text("With your key")).to_be_visible()
    expect(model).to_contain_text("sentiment:reference-2")
    assert_nothing_of_the_model_runs(page)
    assert_key_is_nowhere(page, "wéb key")

    page.get_by_role("button", name="Forget it").click()
    page.keyboard.press("Control+Enter")
    give_key(page, "slow", press="Control+Enter")
    expect(page.get_by_role("alert")).to_be_hidden()
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_have_text(
        re.compile(r"Too many texts at once\s+this key may ask for 0\.05 texts a second")
    )
    expect(page.locator("#wait")).to_have_text(re.compile(r"in \d+ s"))
    expect(page.locator("#status")).to_have_text(re.compile(r"Try again in \d+ s\."))
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("button", name="Try again")).to_be_focused()

    keyed.terminate()
    keyed.wait_for_log("draining")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_contain_text("The service is not ready")
    expect(page.locator("#wait")).to_have_text("in 1 s")


def assert_nothing_of_the_model_runs(page: Page) -> None:
    """Its labels and its card stand there as they were written."""
    page.get_by_text("Model card").click()
    expect(page.get_by_role("heading", name=MARKUP)).to_be_visible()
    expect(page.locator("#card-content li")).to_have_text([MARKUP, MARKUP])
    assert page.locator("main img, main script, main b").count() == 0
    assert page.evaluate("window.hit") is None


def assert_key_is_nowhere(page: Page, key: str) -> None:
    """Neither the page nor what a browser keeps has the key; the command has a variable for it."""
    kept = page.evaluate("[{...localStorage}, {...sessionStorage}, document.cookie, location.href]")
    assert kept[:3] == [{}, {}, ""]
    assert key not in page.content() + kept[3]
    assert page.get_by_label("Key", exact=True).input_value() == ""
    command = page.locator("#command").text_content() or ""
    printed = subprocess.run(
        ["sh"], input=f"KEY='{key}'\n{command}".encode(), check=True, capture_output=True
    ).stdout
    assert [p["truncated"] for p in json.loads(printed)["predictions"]] == [False]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "An answer that is not the service\u2019s."),
        (503, "The service is not ready. It will be asked again."),
    ],
    ids=["for good", "for now"],
)
def test_a_model_that_is_not_told_of(
    visit: Visit, service: Served, status: int, message: str
) -> None:
    """That it will be asked for again is said where it is so."""
    page = visit(service)
    page.route("**/ui/model", lambda route: route.fulfill(status=status, body="a proxy's page"))

    page.reload()

    expect(page.locator("#model-message")).to_have_text(message)


def test_a_network_that_is_down(visit: Visit, service: Served) -> None:
    """It is said in words; once the network is back the retry button gets the answer."""
    page = visit(service)
    expect(page.get_by_role("complementary")).to_contain_text("sentiment:reference-2")
    page.context.set_offline(offline=True)

    run(page, "fine")
    expect(page.get_by_role("alert")).to_contain_text("The service cannot be reached")
    page.context.set_offline(offline=False)
    page.get_by_role("button", name="Try again").click()

    expect(page.get_by_role("cell", name="fine")).to_be_visible()
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.get_by_role("button", name="Classify", exact=True)).to_be_focused()
