"""Answer i is text i's, whoever else asks, however long the texts are, and whoever gives up."""

from __future__ import annotations

import asyncio
import math
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

from benchmarks.corpus import read_corpus
from tests.http.serving import PROJECT
from tests.tiny_models import token_ids
from textclf.admission import QueueLimits
from textclf.artifact import GRAPH, Artifact, read_artifact
from textclf.classifier import Classifier, ServingOptions
from textclf.errors import QueueFullError
from textclf.schema import Prediction

# A prime, so that few texts share a fingerprint; small enough that a score of six digits tells it.
_PRIME = 10_007
_SPAN = 4.0
_LIMITS = QueueLimits(texts=100_000, tokens=10_000_000)
Right = Callable[[str, Prediction], bool]


def fingerprint(ids: Sequence[int]) -> int:
    """Return a number that depends on every token and its place."""
    return sum((token + 1) * (place + 1) ** 2 for place, token in enumerate(ids)) % _PRIME


def fingerprint_graph() -> onnx.ModelProto:
    """Return a graph whose second logit is the fingerprint, scaled to -2 to 2; the first is 0."""
    constants = {
        "one": np.array(1),
        "zero": np.array(0),
        "prime": np.array(_PRIME),
        "axis": np.array([1]),
        "sequence": np.array(1),
        "scale": np.array(_SPAN / _PRIME, np.float32),
        "shift": np.array(_SPAN / 2, np.float32),
    }
    nodes = [
        helper.make_node("Add", ["input_ids", "one"], ["tokens"]),
        helper.make_node("CumSum", ["attention_mask", "sequence"], ["places"]),
        helper.make_node("Mul", ["places", "places"], ["squares"]),
        helper.make_node("Mul", ["tokens", "squares"], ["products"]),
        helper.make_node("Mul", ["products", "attention_mask"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "axis"], ["sum"]),
        helper.make_node("Mod", ["sum", "prime"], ["whole"]),
        helper.make_node("Cast", ["whole"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["real", "scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "shift"], ["second"]),
        helper.make_node("Sub", ["second", "second"], ["first"]),
        helper.make_node("Concat", ["first", "second"], ["logits"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "fingerprint",
        [token_ids(), token_ids("attention_mask")],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ("batch", 2))],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


@pytest.fixture(scope="module")
def encoding(
    masked_classifier_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Classifier, Right]]:
    """Return a classifier whose scores tell which text they are of, and who reads them."""
    folder = tmp_path_factory.mktemp("fingerprint") / "model"
    shutil.copytree(masked_classifier_folder, folder)
    description = read_artifact(folder).description
    onnx.save_model(fingerprint_graph(), folder / GRAPH)
    artifact = Artifact(folder=folder, description=description, golden=())
    tokenizer = Tokenizer.from_file(str(artifact.tokenizer_path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(description.max_tokens)
    first, second = description.labels

    def is_right(text: str, said: Prediction) -> bool:
        sign = {first: -1, second: 1}[said.label]
        logit = sign * math.log(said.score / (1 - said.score))
        told = round((logit + _SPAN / 2) / _SPAN * _PRIME)
        return told == fingerprint(tokenizer.encode(text).ids)

    classifier = Classifier(artifact, ServingOptions(threads=3, queue=_LIMITS))
    yield classifier, is_right
    classifier.close()


def make_text(draw: random.Random) -> str:
    """Return a text of any length, most of them short."""
    words = draw.choice((1, 2, 3, 5, 8, 30, 100))
    return " ".join("".join(draw.choices("abcdefghij", k=draw.randint(1, 7))) for _ in range(words))


async def play(
    classifier: Classifier, calls: Sequence[Sequence[str]], draw: random.Random
) -> list[tuple[Sequence[str], list[Prediction]]]:
    """Make calls at random moments and give some of them up; return those that were answered."""

    async def call(texts: Sequence[str]) -> list[Prediction] | None:
        await asyncio.sleep(draw.random() * 0.01)
        patience = draw.choice((None, None, 0.0, draw.random() * 0.02))
        try:
            async with asyncio.timeout(patience):
                return await classifier.classify(texts)
        except (TimeoutError, QueueFullError):
            return None

    answers = await asyncio.gather(*map(call, calls))
    return [(texts, said) for texts, said in zip(calls, answers, strict=True) if said is not None]


@pytest.mark.parametrize("seed", range(12))
def test_every_score_is_its_own_texts(encoding: tuple[Classifier, Right], seed: int) -> None:
    """The graph writes into its answer which text it has read: a mix-up shows for certain."""
    classifier, is_right = encoding
    draw = random.Random(seed)  # noqa: S311 - an order
    calls = [[make_text(draw) for _ in range(draw.choice((1, 1, 2, 5, 20, 64)))] for _ in range(60)]

    answered = asyncio.run(play(classifier, calls, draw))

    assert 5 < len(answered) < 60
    for texts, said in answered:
        assert len(texts) == len(said)
        assert all(map(is_right, texts, said))
    assert classifier._engine._texts == classifier._engine._tokens == 0
    assert len(classifier._engine._queue) == 0


def test_a_mix_up_would_show(encoding: tuple[Classifier, Right]) -> None:
    """The reading of a score tells one text from another that differs in a single place."""
    classifier, is_right = encoding
    one, other = asyncio.run(classifier.classify(["ab cd", "cd ab"]))

    assert is_right("ab cd", one)
    assert is_right("cd ab", other)
    assert not is_right("ab cd", other)


def test_the_reference_model_never_mixes_answers_up() -> None:
    """Its answers among others are those that it gives to each text alone."""
    artifact = read_artifact(PROJECT / "models" / "reference")
    classifier = Classifier(artifact, ServingOptions(queue=_LIMITS))
    texts = [text for text in read_corpus() if len(text) < 150][:60]
    texts += ["dull " * times for times in (20, 60, 150)]

    async def ask_alone() -> dict[str, Prediction]:
        return {text: (await classifier.classify([text]))[0] for text in texts}

    alone = asyncio.run(ask_alone())
    for seed in range(3):
        draw = random.Random(seed)  # noqa: S311 - an order
        calls = [draw.choices(texts, k=draw.choice((1, 2, 3, 8))) for _ in range(40)]
        answered = asyncio.run(play(classifier, calls, draw))
        assert answered
        for asked, said in answered:
            for text, prediction in zip(asked, said, strict=True):
                known = alone[text]
                assert abs(prediction.score - known.score) <= 0.01
                assert prediction.label == known.label or known.score < 0.52
    classifier.close()
