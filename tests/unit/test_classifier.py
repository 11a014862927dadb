"""A text's answer is its own, whatever else is asked at the same time."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from textclf.admission import QueueLimits
from textclf.artifact import GOLDEN, Artifact, read_artifact, write_description, write_golden
from textclf.classifier import Classifier, ServingOptions, agrees
from textclf.description import GoldenExample
from textclf.errors import GoldenMismatchError, QueueFullError
from textclf.schema import MAX_TEXTS, Prediction
from textclf.tokenization import TokenizedText


@pytest.fixture(scope="module", params=["with a mask", "without a mask"])
def artifact(
    request: pytest.FixtureRequest, classifier_folder: Path, masked_classifier_folder: Path
) -> Artifact:
    """Return a classifier folder of each kind."""
    masked = request.param == "with a mask"
    return read_artifact(masked_classifier_folder if masked else classifier_folder)


@pytest.fixture(scope="module")
def classifier(artifact: Artifact) -> Iterator[Classifier]:
    """Load it on two threads."""
    classifier = Classifier(artifact, ServingOptions(threads=2))
    yield classifier
    classifier.close()


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts=st.lists(st.text(min_size=1, max_size=300), min_size=1, max_size=40))
def test_answers_do_not_depend_on_company(classifier: Classifier, texts: list[str]) -> None:
    """Answer i is text i's: in one call, in many at once, and alone."""

    async def all_ways() -> tuple[list[Prediction], list[list[Prediction]]]:
        together = await classifier.classify(texts)
        side_by_side = await asyncio.gather(*(classifier.classify([text]) for text in texts))
        return together, side_by_side

    together, side_by_side = asyncio.run(all_ways())

    for one, (other,) in zip(together, side_by_side, strict=True):
        assert one.score == pytest.approx(other.score, abs=0.01)
        assert one.label == other.label or one.score < 0.51


def test_golden_snapshot_is_replayed(classifier: Classifier) -> None:
    """The snapshot that was recorded at import still holds."""
    asyncio.run(classifier.replay_golden())


@pytest.mark.parametrize("alone", [32, 1000], ids=["some alone", "all alone"])
@pytest.mark.parametrize("fault", ["score", "label"])
def test_golden_mismatch_names_text_and_answers(
    artifact: Artifact, tmp_path: Path, fault: str, alone: int
) -> None:
    """One text that differs is enough; the first is replayed alone and batched."""
    first, *others = artifact.golden
    labels = artifact.description.labels
    wrong: dict[str, dict[str, object]] = {
        "score": {"score": first.score - 0.011},
        "label": {"label": next(label for label in labels if label != first.label)},
    }
    folder = Path(shutil.copytree(artifact.folder, tmp_path / "classifier"))
    write_golden(folder / GOLDEN, [first.model_copy(update=wrong[fault]), *others])
    write_description(folder, artifact.description)
    classifier = Classifier(read_artifact(folder))

    with pytest.raises(GoldenMismatchError) as refusal:
        asyncio.run(classifier.replay_golden(alone=alone))
    classifier.close()

    step = -(-len(artifact.golden) // alone)
    replayed = len(artifact.golden) + len(artifact.golden[::step])
    assert f": 2 of {replayed};" in str(refusal.value)
    assert f"got {first.label} {first.score:.4f}" in str(refusal.value)


def test_full_queue_is_refused_and_empties(artifact: Artifact) -> None:
    """What is over the limit is refused at once; the rest is answered, and room is made."""
    classifier = Classifier(artifact, ServingOptions(threads=1, queue=QueueLimits(texts=4)))

    async def race() -> list[list[Prediction] | BaseException]:
        calls = [classifier.classify(["fine", "bad"]) for _ in range(3)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        return [*results, await classifier.classify(["fine"] * 4)]

    first, second, third, later = asyncio.run(race())
    classifier.close()

    assert isinstance(third, QueueFullError)
    assert [len(answer) for answer in (first, second, later) if isinstance(answer, list)] == [
        2,
        2,
        4,
    ]


def test_cancelled_call_leaves_the_queue(artifact: Artifact) -> None:
    """A caller that gave up takes no room from those who wait."""
    classifier = Classifier(artifact, ServingOptions(threads=1, queue=QueueLimits(texts=64)))

    async def cancel_then_classify() -> list[Prediction]:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await classifier.classify(["fine " * 100] * 64)
        return await classifier.classify(["fine"] * 64)

    assert len(asyncio.run(cancel_then_classify())) == 64
    classifier.close()


def test_graph_that_is_not_batch_invariant_runs_texts_alone(artifact: Artifact) -> None:
    """A description that says so is heeded, and the answers stay the same."""
    measured = artifact.description.batch_invariance.model_copy(update={"invariant": False})
    description = artifact.description.model_copy(update={"batch_invariance": measured})
    lone = Classifier(Artifact(folder=artifact.folder, description=description, golden=()))

    assert lone._engine._queue.limits.texts == 1
    assert len(asyncio.run(lone.classify(["fine", "bad"]))) == 2
    lone.close()


def test_golden_snapshot_needs_no_more_places_than_a_client(artifact: Artifact) -> None:
    """The smallest queue that may be set is enough to start."""
    golden = artifact.golden * (1 + MAX_TEXTS // len(artifact.golden))
    crowded = Artifact(folder=artifact.folder, description=artifact.description, golden=golden)
    classifier = Classifier(crowded, ServingOptions(queue=QueueLimits(texts=MAX_TEXTS, tokens=1)))

    asyncio.run(classifier.replay_golden())
    classifier.close()


def test_known_texts_are_answered_from_the_cache(artifact: Artifact) -> None:
    """Only what is not known is run, once; what was asked longest ago is forgotten first."""
    classifier = Classifier(artifact, ServingOptions(cache_texts=2))
    asked: list[list[str]] = []
    encode = classifier._tokenizer.encode

    def record(texts: Sequence[str]) -> list[TokenizedText]:
        asked.append(list(texts))
        return encode(texts)

    classifier._tokenizer.encode = record  # type: ignore[method-assign]

    async def ask() -> list[list[Prediction]]:
        calls = (["fine", "bad", "fine"], ["bad"], ["dull", "bad"], ["fine"])
        return [await classifier.classify(call) for call in calls]

    first, again, mixed, _ = asyncio.run(ask())
    classifier.close()

    assert asked == [["fine", "bad"], ["dull"], ["fine"]]
    assert first[0] == first[2]
    assert again == [first[1]]
    assert mixed[1] == first[1]


def test_tuning_is_measured_once_and_kept(artifact: Artifact, tmp_path: Path) -> None:
    """A second start on the same machine reads what the first one wrote."""
    options = ServingOptions(tune=True, tuning_file=tmp_path / "tuning.json", threads=2)
    first, second = Classifier(artifact, options), Classifier(artifact, options)
    first.close()
    second.close()

    assert first.tuning == second.tuning
    assert first.tuning.runs


@pytest.mark.parametrize(
    ("label", "score", "expected"),
    [("a", 0.9, True), ("a", 0.9099, True), ("a", 0.9101, False), ("b", 0.9, False)],
    ids=["equal", "within the tolerance", "beyond it", "another label"],
)
def test_agrees(label: str, score: float, expected: bool) -> None:
    """The label must be the same, the score within 0.01."""
    recorded = GoldenExample(text="x", label="a", score=0.9)

    assert agrees(recorded, Prediction(label=label, score=score, truncated=False)) is expected
