"""A real service says of its traffic that it has changed when it has, and not before."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.http.serving import PROJECT, Served, serve
from textclf.artifact import read_artifact, write_description
from textclf.drafting.reference import draft_reference
from textclf.drift import LEAST_TEXTS
from textclf.drift_report import Review, from_pages, review

REFERENCE = PROJECT / "models" / "reference"
SUBJECTS = ["the film", "this story", "the cast", "her second feature", "the script", "its ending"]
VERBS = ["is", "turns out to be", "never stops being", "was", "remains", "seems"]
GOOD = ["charming", "a quiet triumph", "funny and tender", "a joy to watch", "moving", "clever"]
BAD = ["dull", "a tedious mess", "lifeless and loud", "a waste of time", "clumsy", "shallow"]
ENDS = ["", "from the first scene to the last", "for anyone who likes cinema", "in every way",
        "though the music helps a little and the photography is rather fine"]  # fmt: skip
SPANISH = ["la película", "es", "aburrida", "no me ha gustado nada", "una obra maestra", "los",
           "actores", "estupendos", "del año", "demasiado larga", "qué", "maravilla"]  # fmt: skip


def reviews(seed: int, number: int, kinds: Sequence[list[str]] = (GOOD, BAD)) -> list[str]:
    """Return short reviews of films, one like the other."""
    draw = random.Random(seed)  # noqa: S311 - not for cryptography
    parts = (SUBJECTS, VERBS, (), ENDS, ["."])
    return [
        " ".join(draw.choice(part or draw.choice(kinds)) for part in parts) for _ in range(number)
    ]


def spanish(seed: int, number: int) -> list[str]:
    """Return what a Spanish cinema might get."""
    draw = random.Random(seed)  # noqa: S311
    return [" ".join(draw.choices(SPANISH, k=draw.randint(3, 8))) for _ in range(number)]


def longer(seed: int, number: int) -> list[str]:
    """Return reviews of several sentences."""
    return [" ".join(reviews(seed + 1_000 * index, 6)) for index in range(number)]


PLANTED = {
    "another language": (spanish(5, 450), "characters_per_token"),
    "one class only": (reviews(6, 450, [GOOD]), "labels"),
    "longer texts": (longer(7, 450), "lengths"),
    "emoji": ([f"{text} 🎬🍿" for text in reviews(8, 450)], "unknown_tokens"),
}


def classify(client: httpx.Client, texts: Sequence[str]) -> None:
    """Have texts classified by either worker, as soon as it takes them."""
    new_connection = {"Connection": "close"}
    while True:
        answer = client.post("/classify", json={"texts": texts}, headers=new_connection)
        if answer.status_code != 429:  # which a busy machine is enough for
            break
        time.sleep(float(answer.headers["Retry-After"]))
    answer.raise_for_status()


class Watched:
    """A service, and a folder with what /metrics said from time to time."""

    def __init__(self, served: Served, folder: Path) -> None:
        self.served = served
        self.folder = folder
        self.texts = 0

    def send(self, texts: Sequence[str]) -> None:
        """Have texts classified by both workers, and save /metrics when all are counted."""
        parts = [texts[start : start + 50] for start in range(0, len(texts), 50)]
        with self.served.client() as client, ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda some: classify(client, some), parts))
        self.texts += len(texts)
        self.save()

    def save(self) -> Path:
        """Save /metrics as soon as it has everything, a minute after the page before."""

        def look() -> str | None:
            with self.served.client() as client:
                text = client.get("/metrics").raise_for_status().text
            counted = sum(
                sample.value
                for sample in samples(text, "textclf_drift_texts_total")
                if sample.labels["feature"] == "labels"
            )
            return text if counted == self.texts else None

        text = self.served.wait_for(look, f"{self.texts} texts were never counted")
        number = len(list(self.folder.iterdir()))
        page = self.folder / f"{number:03}.prom"
        page.write_text(text, "utf-8")
        os.utime(page, (1_790_000_000 + 60 * number,) * 2)
        return page

    @property
    def page(self) -> str:
        """The newest page."""
        return max(self.folder.iterdir()).read_text("utf-8")

    def gauge(self, name: str) -> dict[str, float]:
        """Return a gauge of the newest page, by feature."""
        found = samples(self.page, f"textclf_drift_{name}")
        return {sample.labels.get("feature", ""): sample.value for sample in found}

    def over(self) -> set[str]:
        """Return the features that are over their threshold, as an alert finds them."""
        limits = self.gauge("threshold")
        return {name for name, value in self.gauge("distance").items() if value > limits[name]}

    def since(self, page: int) -> Review:
        """Return what a report says of the texts since a page was saved."""
        return review(from_pages(sorted(self.folder.iterdir())[page:]), window_texts=10_000)


def samples(page: str, name: str) -> list[Sample]:
    """Return the series of a name."""
    return [
        sample
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name
    ]


def both_ready(served: Served) -> bool | None:
    """Say whether two workers are there and every one is ready."""
    with served.client() as client:
        page = client.get("/metrics").raise_for_status().text
    found = [samples(page, f"textclf_{name}") for name in ("workers", "ready")]
    return [sample.value for series in found for sample in series] == [2, 1] or None


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Serve the reference model with two workers, to whoever reviews films in few words."""
    folder = tmp_path_factory.mktemp("drift")
    model = Path(shutil.copytree(REFERENCE, folder / "model"))
    description = read_artifact(REFERENCE).description
    draft_reference(model, description, reviews(1, 500))
    write_description(model, description)
    (folder / "pages").mkdir()
    with serve(
        folder,
        environ={"BENTOML_CONFIG_OPTIONS": "services.textclf.workers=2"},
        MODEL=str(model),
        INFERENCE_THREADS="1",
        MAX_QUEUE_SECONDS="60",
    ) as served:
        served.wait_for(lambda: both_ready(served), "two workers were never ready")
        watched = Watched(served, folder / "pages")
        watched.save()
        yield watched


def test_drift_is_told_when_it_is_there(watched: Watched) -> None:
    """Too few texts say nothing, the usual ones are quiet in any order, and each drift is seen."""
    usual = reviews(2, 400)
    watched.send(usual[: LEAST_TEXTS - 1])
    assert watched.gauge("distance") == {}
    assert watched.gauge("window_texts")["labels"] == LEAST_TEXTS - 1

    watched.send(usual[LEAST_TEXTS - 1 :])
    quiet = watched.gauge("distance")
    assert watched.over() == set()

    watched.send(sorted(usual))
    assert watched.over() == set()
    assert watched.since(2).drifted == []
    assert watched.gauge("distance").keys() == quiet.keys()

    watched.send([text.upper() for text in usual])  # which the tokenizer makes lower-case again
    assert watched.since(3).drifted == []

    for page, (texts, feature) in enumerate(PLANTED.values(), start=4):
        watched.send(texts)
        assert feature in {drifted.name for drifted in watched.since(page).drifted}
        assert watched.over()  # although the usual texts are in its window too
