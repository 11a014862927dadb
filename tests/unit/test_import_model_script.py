"""The command: its exit codes, what it says, and what it leaves in the store."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import bentoml
import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

from scripts.import_model import main
from tests.tiny_models import TinyModel, bert_graph, roberta_graph, token_ids


@pytest.fixture
def folder(roberta_model: TinyModel, tmp_path: Path) -> Path:
    """A copy of a sound model, to spoil."""
    return Path(shutil.copytree(roberta_model.folder, tmp_path / "model"))


@pytest.fixture
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")


def test_result_as_json(
    classifier_folder: Path, bentoml_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Machines get the tag and the hashes on stdout and nothing else."""
    assert main(["local", str(classifier_folder), "--json"]) == 0

    output = capsys.readouterr()
    result = json.loads(output.out)
    held = json.loads((bentoml_home / "models/sentiment/tiny-1/classifier.json").read_text("utf-8"))
    assert result["tag"] == "sentiment:tiny-1"
    assert result["files"] == held["files"]
    assert (result["already_there"], result["dry_run"]) == (False, False)
    assert "importing file://" in output.err
    assert "\r" not in output.err  # no progress bar without a terminal


@pytest.mark.usefixtures("bentoml_home")
def test_result_in_words(classifier_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """People get one line: what would be, what was done, what was there."""
    for options in (["--dry-run"], [], [], ["--dry-run"]):
        assert main(["local", str(classifier_folder), *options]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "sentiment:tiny-1 can be imported",
        "imported sentiment:tiny-1",
        "sentiment:tiny-1 is already there",
        "sentiment:tiny-1 is already there",
    ]


@pytest.mark.usefixtures("bentoml_home")
def test_every_option_at_once(
    roberta_model: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the command line says goes before what the files say."""
    graph = Path(shutil.copy(roberta_model.graph, tmp_path / "bare.onnx"))
    texts = tmp_path / "texts.txt"
    texts.write_text("espresso is too strong\na quiet film\n", "utf-8")
    options = {
        "--tokenizer": str(roberta_model.folder),
        "--labels": "bad, good",
        "--positive-label": "good",
        "--name": "other",
        "--version": "2.1",
        "--max-tokens": "16",
        "--golden-texts": str(texts),
    }

    code = main(
        ["local", str(graph), "--json", *(word for pair in options.items() for word in pair)]
    )

    result = json.loads(capsys.readouterr().out)
    assert code == 0
    assert (result["tag"], result["labels"]) == ("sentiment:other-2.1", ["bad", "good"])
    assert result["positive_label"] == "good"


def test_help_documents_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """Each exit code is explained."""
    with pytest.raises(SystemExit, match="0"):
        main(["local", "--help"])

    output = capsys.readouterr().out
    assert "0    imported, or already there" in output
    assert "26   The model store cannot be written." in output
    assert "130  interrupted; nothing was written" in output


@pytest.mark.parametrize(
    "arguments",
    [[], ["elsewhere"], ["local"], ["local", "x", "--max-tokens", "1"]],
    ids=["nothing", "unknown source", "no path", "too short an input"],
)
def test_wrong_command_line(arguments: list[str]) -> None:
    """A command line that makes no sense exits with 2."""
    with pytest.raises(SystemExit, match="2"):
        main(arguments)


Change = Callable[[Path], None]


def _with_graph(graph: ModelProto) -> Change:
    return lambda folder: onnx.save_model(graph, folder / "tiny.onnx")


def _with_bytes(content: bytes) -> Change:
    def _write(folder: Path) -> None:
        (folder / "tiny.onnx").write_bytes(content)

    return _write


def _without_external_data(folder: Path) -> None:
    graph = folder / "tiny.onnx"
    onnx.save_model(
        roberta_graph(), graph, save_as_external_data=True, location="w.bin", size_threshold=0
    )
    (folder / "w.bin").unlink()


def _with_nan() -> ModelProto:
    model = roberta_graph()
    bias = next(t for t in model.graph.initializer if t.name == "bias")
    bias.CopyFrom(numpy_helper.from_array(np.full((2,), np.nan, dtype=np.float32), "bias"))
    return model


def _without_tokenizer(folder: Path) -> None:
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()


@pytest.mark.usefixtures("bentoml_home")
@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (shutil.rmtree, 21, "no file or folder {folder}; check the path"),
        (lambda f: (f / "tiny.onnx").unlink(), 21, "{folder} holds neither"),
        (_with_bytes(b"\x00rubbish"), 22, "{graph} is no ONNX file or was cut short"),
        (
            _with_bytes(roberta_graph().SerializeToString()[:9000]),
            22,
            "{graph} is no ONNX file or was cut short",
        ),
        (_without_external_data, 22, "{graph} keeps its weights in w.bin"),
        (
            _with_graph(bert_graph(mask_name="mask")),
            22,
            "has the inputs input_ids, mask; export it",
        ),
        (
            _with_graph(roberta_graph(ids=token_ids(kind=TensorProto.FLOAT))),
            22,
            "input input_ids of {graph} is float, not int64; export",
        ),
        (
            _with_graph(roberta_graph(ids=token_ids(shape=(1, 128)))),
            22,
            "input input_ids of {graph} has shape (1, 128)",
        ),
        (_with_graph(roberta_graph(positions=34)), 22, "import it with --max-tokens 32"),
        (_with_graph(_with_nan()), 22, "logits that are not finite"),
        (_without_tokenizer, 23, "no tokenizer beside {graph}; give its folder"),
        (
            _with_graph(roberta_graph(rows=64)),
            23,
            "ids up to 299, the embedding of the graph has 64",
        ),
        (_with_graph(roberta_graph(labels=3)), 24, "3 logits, but there are 2 labels"),
    ],
    ids=[
        "missing",
        "no graph",
        "not ONNX",
        "truncated",
        "external data missing",
        "wrong inputs",
        "float inputs",
        "fixed axes",
        "too few positions",
        "NaN",
        "no tokenizer",
        "vocabulary beyond the embedding",
        "labels",
    ],
)
def test_model_that_is_refused(
    change: Change,
    code: int,
    message: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code and message tell what it was, the store is empty, and the sound model goes in."""
    sound = Path(shutil.copytree(folder, folder.with_name("sound")))
    change(folder)

    assert main(["local", str(folder)]) == code

    output = capsys.readouterr()
    assert output.out == ""
    last_line = output.err.splitlines()[-1]
    assert last_line.startswith("error: ")
    assert message.format(folder=folder, graph=folder / "tiny.onnx") in last_line
    assert bentoml.models.list() == []
    assert main(["local", str(sound)]) == 0
    assert [str(model.tag) for model in bentoml.models.list()] == ["sentiment:tiny-1"]


@pytest.mark.usefixtures("bentoml_home", "_no_hub")
@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--tokenizer", "nobody/nothing"], 23, "nobody/nothing is no folder here"),
        (["--labels", "a,b,c"], 24, "none of the labels a, b, c is positive"),
        (["--labels", "a,positive,c"], 24, "2 logits, but there are 3 labels"),
        (["--golden-texts", "absent.txt"], 15, "cannot read absent.txt"),
        (["--name", "No Name"], 20, "give --name and --version"),
    ],
    ids=["tokenizer", "positive label", "label count", "golden texts", "name"],
)
def test_option_that_is_refused(
    options: list[str],
    code: int,
    message: str,
    roberta_model: TinyModel,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code and message tell which option it was."""
    assert main(["local", str(roberta_model.folder), *options]) == code
    assert message in capsys.readouterr().err
    assert bentoml.models.list() == []


@pytest.mark.usefixtures("bentoml_home")
def test_tag_that_is_taken(
    roberta_model: TinyModel, bert_model: TinyModel, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another model under the same tag is refused until it gets another version."""
    assert main(["local", str(roberta_model.folder)]) == 0

    assert main(["local", str(bert_model.folder)]) == 25
    assert main(["local", str(bert_model.folder), "--dry-run"]) == 25
    assert "(it differs in inputs, " in capsys.readouterr().err
    assert main(["local", str(bert_model.folder), "--version", "2"]) == 0
    assert str(bentoml.models.get("sentiment:latest").tag) == "sentiment:tiny-2"
