"""The report says what drifted and since when, from whatever recorded it."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from scripts.drift_report import main
from tests.conftest import require
from tests.http.serving import free_port
from tests.rollout.stage import wait_until
from tests.unit.drift_recording import START, STEP_SECONDS, Day
from textclf.drift import Feature, Reference
from textclf.drift_report import from_pages, review
from textclf.errors import EvidenceError

FEATURES = ["labels", "scores", "lengths", "characters_per_token", "unknown_tokens"]


@pytest.fixture(scope="module")
def day() -> Day:
    """A quiet half of a day, then long texts."""
    day = Day()
    for _ in range(20):
        day.serve(100)
    for _ in range(15):
        day.serve(100, moved={"lengths": 0.6})
    return day


def test_what_drifted_and_since_when(day: Day, tmp_path: Path) -> None:
    """Lengths did, from when enough of the last thousand texts were long; nothing else did."""
    found = review(from_pages(day.save(tmp_path)))

    (drifted,) = found.drifted
    assert drifted.name == "lengths"
    assert [feature.name for feature in found.features] == FEATURES
    assert drifted.since is not None
    assert START + 21 * STEP_SECONDS <= drifted.since <= START + 28 * STEP_SECONDS
    assert drifted.most_moved[0] == "> 40"
    assert (found.texts, drifted.texts) == (3_500, 1_000)
    assert found.span == (START + 25 * STEP_SECONDS, START + 35 * STEP_SECONDS)


def test_the_page_needs_nothing_else(
    day: Day, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is whole, holds a picture whose text is text, loads nothing and runs nothing."""
    page = tmp_path / "drift.html"

    code = main(["--pages", *map(str, day.save(tmp_path)), "--output", str(page)])

    assert (code, capsys.readouterr().out) == (0, f"{page}: lengths drifted\n")
    content = page.read_text("utf-8")
    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append(tag)  # type: ignore[method-assign]  # noqa: ARG005
    parser.feed(content)
    assert "svg" in tags
    assert "script" not in tags
    assert not re.search(r"""(src|href)=["'](?!#)""", content.replace('xlink:href="#', ""))
    assert "unlike the reference in their lengths." in content
    assert "characters per token" in content
    assert "&gt; 40: 9% → " in content


def test_the_page_can_be_heard(day: Day, tmp_path: Path) -> None:
    """Each column has a name, and so has the picture."""
    page = tmp_path / "drift.html"

    main(["--pages", *map(str, day.save(tmp_path)), "--output", str(page)])

    content = page.read_text("utf-8")
    assert len(re.findall('<th scope="col"[^>]*>[^<]+</th>', content)) == content.count("<th")
    ((name, parts),) = re.findall(
        r'<div role="img" aria-labelledby="([\w-]+)" aria-describedby="([\w-]+)"><svg', content
    )
    assert re.search(f'<h2 id="{name}">[^<]+', content)
    assert re.search(f'<p id="{parts}"[^>]*>[^<]+', content)


@pytest.mark.parametrize(
    ("texts", "verdict"),
    [(150, "too few texts"), (400, "no drift")],
)
def test_quiet_and_too_few(tmp_path: Path, texts: int, verdict: str) -> None:
    """A page is made of them too, and says so."""
    day = Day()
    day.serve(texts)

    assert main(["--pages", *map(str, day.save(tmp_path)), "--output", str(tmp_path / "d")]) == 0
    assert f"<title>{verdict}: sentiment:reference-2</title>" in (tmp_path / "d").read_text("utf-8")


def test_the_report_says_what_the_service_said(tmp_path: Path) -> None:
    """Also of a reference of texts that were mostly truncated: few have characters per token."""
    labels = Feature(name="labels", bins=["a", "b"], counts=[500, 500])
    few = Feature(
        name="characters_per_token",
        bins=["<= 4", "4 to 5", "> 5"],
        edges=[4, 5],
        counts=[15, 10, 15],
    )
    day = Day(reference=Reference(origin="given", texts=1_000, features=[labels, few]))
    day.serve(300, moved={"characters_per_token": 0.3})

    found = review(from_pages(day.save(tmp_path)))

    for feature in found.features:
        assert feature.last
        for name in ("distance", "threshold"):
            line = f'textclf_drift_{name}{{feature="{feature.name}",model="{day.model}"}} '
            said = float(day.pages[-1].decode().partition(line)[2].partition("\n")[0])
            assert getattr(feature.last, name) == pytest.approx(said)


def test_a_service_that_began_again_loses_nothing(tmp_path: Path) -> None:
    """Counts that fall have begun at 0 again; what came before still counts."""
    first, second = Day(), Day()
    first.serve(300)
    second.serve(200, moved={"lengths": 0.9})
    first.pages += second.pages

    assert review(from_pages(first.save(tmp_path))).texts == 500


def test_of_two_models_one_is_shown(tmp_path: Path) -> None:
    """The one with most texts, or the one that is named; the other is told of."""
    day, other = Day(), Day("sentiment:other-1")
    day.serve(300)
    other.serve(250)
    day.pages = [one + two for one, two in zip(day.pages, other.pages, strict=True)]
    pages = day.save(tmp_path)

    assert review(from_pages(pages)).recording.model == "sentiment:reference-2"
    found = review(from_pages(pages, "sentiment:other-1"))
    assert (found.texts, found.recording.others) == (250, ["sentiment:reference-2"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"# nothing\n", "no model has textclf_drift_texts_total at 0 points in time"),
        (b'textclf_drift_texts_total{model="m" 1\n', "cannot read .*; save a page"),
        (b"\xff", "cannot read .*; save a page"),
        (None, "cannot read .*; save a page"),
    ],
    ids=["no drift", "no metrics", "no text", "no file"],
)
def test_pages_that_say_nothing(tmp_path: Path, content: bytes | None, message: str) -> None:
    """The message says what is missing and what to do."""
    if content is not None:
        (tmp_path / "page").write_bytes(content)

    with pytest.raises(EvidenceError, match=message):
        from_pages([tmp_path / "page"])


@pytest.fixture
def prometheus(day: Day, tmp_path: Path) -> Iterator[str]:
    """Run a real Prometheus that has the day of two replicas."""
    for program in ("prometheus", "promtool"):
        require(shutil.which(program) is not None, f"there is no {program}; run `make parts`")
    data = tmp_path / "data"
    (tmp_path / "day.txt").write_text(_open_metrics(day), "utf-8")
    load = ["promtool", "tsdb", "create-blocks-from", "openmetrics", f"{tmp_path}/day.txt"]
    subprocess.run([*load, str(data)], check=True, capture_output=True)
    (tmp_path / "prometheus.yml").write_text("{}")
    url = f"http://127.0.0.1:{free_port()}"
    command = [
        "prometheus",
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={data}",
        "--storage.tsdb.retention.time=100y",
        f"--web.listen-address={url.removeprefix('http://')}",
    ]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            wait_until(partial(_is_ready, url), "Prometheus was never ready")
            yield url
        finally:
            process.terminate()


def _open_metrics(day: Day) -> str:
    """Return the series of each page with its time, as two replicas show them."""
    lines = [
        f'{name}{{instance="{replica}",{rest} {START + STEP_SECONDS * number}'
        for number, page in enumerate(day.pages)
        for line in page.decode().splitlines()
        if not line.startswith("#") and "_created" not in line
        for name, _, rest in [line.partition("{")]
        for replica in ("a", "b")
    ]
    return "\n".join([*sorted(lines, key=lambda line: line.partition("{")[0]), "# EOF\n"])


def _is_ready(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/-/ready", trust_env=False).is_success
    return False


def test_a_prometheus_is_asked(
    prometheus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The replicas are added up; where there is nothing the report says so and is not written."""
    page = tmp_path / "drift.html"
    end = "2026-09-21T20:05:00"  # two minutes after the last page
    asked = ["--prometheus", prometheus, "--end", end, "--output", str(page)]

    assert main([*asked, "--hours", "8"]) == 0
    assert "lengths drifted" in capsys.readouterr().out
    assert "7,000 texts from" in page.read_text("utf-8")
    page.unlink()
    assert main([*asked, "--hours", "8", "--selector", 'instance="c"']) == EvidenceError.exit_code
    assert "textclf_drift_texts_total at 0 points in time" in capsys.readouterr().err
    assert main(["--prometheus", prometheus, "--selector", "="]) == EvidenceError.exit_code
    assert "refuses" in capsys.readouterr().err
    assert not page.exists()
