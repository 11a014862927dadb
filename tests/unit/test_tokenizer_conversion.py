"""Every form of tokenizer becomes the one tokenizer.json."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from tokenizers import Tokenizer

from tests.tiny_models import TinyModel
from textclf.errors import TokenizerError
from textclf.tokenizer_conversion import convert_tokenizer, find_tokenizer

TEXT = "MLOps is critical, isn't it?"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where a tokenizer.json is written."""
    return tmp_path / "converted.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for a tokenizer's files."""
    path = tmp_path / "tokenizer"
    path.mkdir()
    return path


def _encode(path: Path, text: str = TEXT) -> list[str]:
    return list(Tokenizer.from_file(str(path)).encode(text).tokens)


def test_roberta_without_configuration(roberta_model: TinyModel, target: Path) -> None:
    """vocab.json and merges.txt alone give RoBERTa's ids, <s> and </s> included."""
    converted = convert_tokenizer(roberta_model.folder, target)

    expected = transformers.RobertaTokenizer.from_pretrained(str(roberta_model.folder))
    ids = Tokenizer.from_file(str(target)).encode(TEXT).ids
    assert ids == expected(TEXT)["input_ids"]
    assert (ids[0], ids[-1]) == (0, 2)
    assert (_encode(target)[0], _encode(target)[-1]) == ("<s>", "</s>")
    assert (converted.pad_token_id, converted.max_tokens) == (1, 512)
    assert converted.adds_special_tokens


def test_bert_without_configuration(bert_model: TinyModel, target: Path) -> None:
    """vocab.txt alone gives BERT's WordPiece with [CLS] and [SEP]."""
    converted = convert_tokenizer(bert_model.folder, target)

    assert _encode(target, "Espresso is") == ["[CLS]", "espresso", "is", "[SEP]"]
    assert (converted.pad_token_id, converted.max_tokens) == (0, 512)


def test_cased_vocabulary_keeps_case(folder: Path, target: Path) -> None:
    """A vocab.txt with capitals is a cased one."""
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nRome\nrome\n", "utf-8")

    convert_tokenizer(folder, target)

    assert _encode(target, "Rome") == ["[CLS]", "Rome", "[SEP]"]


def test_declared_class_is_obeyed(roberta_model: TinyModel, folder: Path, target: Path) -> None:
    """A tokenizer_config.json says what the files are and how long an input is."""
    shutil.copytree(roberta_model.folder, folder, dirs_exist_ok=True)
    declared = {"tokenizer_class": "RobertaTokenizer", "model_max_length": 128}
    (folder / "tokenizer_config.json").write_text(json.dumps(declared), "utf-8")

    converted = convert_tokenizer(folder, target)

    assert converted.max_tokens == 128
    assert _encode(target)[0] == "<s>"


def test_tokenizer_json_is_taken_as_it_is(
    bert_model: TinyModel, folder: Path, target: Path
) -> None:
    """Its normalizer survives, which transformers 5 would build anew; padding and truncation go."""
    convert_tokenizer(bert_model.folder, folder / "tokenizer.json")
    content = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    content["normalizer"]["lowercase"] = False
    (folder / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    padded = Tokenizer.from_file(str(folder / "tokenizer.json"))
    padded.enable_padding(pad_id=7, pad_token="!")  # noqa: S106 - a token of the vocabulary
    padded.enable_truncation(4)
    padded.save(str(folder / "tokenizer.json"))

    converted = convert_tokenizer(folder, target)

    written = json.loads(target.read_text("utf-8"))
    assert (written["padding"], written["truncation"]) == (None, None)
    assert written["normalizer"]["lowercase"] is False
    assert converted.pad_token_id == 7


@pytest.mark.parametrize(
    ("declared", "asked", "expected"),
    [
        ({}, None, 512),
        ({"model_max_length": 10**30}, None, 512),
        ({"model_max_length": 64}, None, 64),
        ({"model_max_length": 64}, 32, 32),
        ({"model_max_length": 64}, 1024, 1024),
    ],
    ids=["nothing said", "no limit", "declared", "shorter by hand", "longer by hand"],
)
def test_longest_input(
    declared: dict[str, Any],
    asked: int | None,
    expected: int,
    classifier_folder: Path,
    folder: Path,
) -> None:
    """It is what was asked for, or what the tokenizer says and at most 512."""
    shutil.copy(classifier_folder / "tokenizer.json", folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(declared), "utf-8")

    converted = convert_tokenizer(folder, folder / "converted.json", max_tokens=asked)

    assert converted.max_tokens == expected


@pytest.mark.parametrize("declared", ["lots", 1])
def test_longest_input_that_is_none_is_refused(
    declared: object, classifier_folder: Path, folder: Path
) -> None:
    """The message names the file's member and the way round it."""
    shutil.copy(classifier_folder / "tokenizer.json", folder)
    config = json.dumps({"model_max_length": declared})
    (folder / "tokenizer_config.json").write_text(config, "utf-8")

    with pytest.raises(TokenizerError, match=r"model_max_length .*--max-tokens"):
        convert_tokenizer(folder, folder / "converted.json")


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("tokenizer_config.json", {"pad_token": "<mask>"}, 4),
        ("special_tokens_map.json", {"pad_token": {"content": "</s>"}}, 2),
        ("config.json", {"pad_token_id": 3}, 1),
    ],
    ids=["tokenizer_config", "special_tokens_map", "the vocabulary goes before the model"],
)
def test_padding_token(
    file: str,
    content: dict[str, Any],
    expected: int,
    classifier_folder: Path,
    folder: Path,
) -> None:
    """The padding token is the declared one, or the usual one."""
    shutil.copy(classifier_folder / "tokenizer.json", folder)
    (folder / file).write_text(json.dumps(content), "utf-8")

    assert convert_tokenizer(folder, folder / "converted.json").pad_token_id == expected


def test_padding_id_of_the_model(folder: Path, target: Path) -> None:
    """Where the vocabulary has no usual padding token, the model's configuration counts."""
    _write_bare_tokenizer(folder)
    (folder / "config.json").write_text('{"pad_token_id": 0}', "utf-8")

    converted = convert_tokenizer(folder, target)

    assert converted.pad_token_id == 0
    assert not converted.adds_special_tokens


def _write_bare_tokenizer(folder: Path) -> None:
    model = {"type": "WordLevel", "vocab": {"a": 0, "?": 1}, "unk_token": "?"}
    content = {"version": "1.0", "model": model, "added_tokens": []}
    (folder / "tokenizer.json").write_text(json.dumps(content), "utf-8")


def _write_gpt2(folder: Path) -> None:
    (folder / "vocab.json").write_text('{"a": 0}', "utf-8")
    (folder / "merges.txt").touch()


def _write_broken_config(folder: Path) -> None:
    _write_bare_tokenizer(folder)
    (folder / "tokenizer_config.json").write_text("{", "utf-8")


def _write_rubbish(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("rubbish", "utf-8")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda _: None, "holds no tokenizer.json, no vocab.json .* another --tokenizer"),
        (_write_rubbish, "cannot read a tokenizer from .*tokenizer: .* --tokenizer"),
        (_write_bare_tokenizer, "has no padding token; name one"),
        (_write_gpt2, "vocab.json lacks RoBERTa's <s>, </s>, <pad>, .* tokenizer_config.json"),
        (_write_broken_config, "cannot read .*tokenizer_config.json: .*; mend it"),
    ],
    ids=["empty folder", "rubbish", "no padding", "unknown vocabulary", "broken configuration"],
)
def test_tokenizer_that_cannot_be_read(
    write: Callable[[Path], None], message: str, folder: Path, target: Path
) -> None:
    """The message names the file and what is missing."""
    write(folder)

    with pytest.raises(TokenizerError, match=message):
        convert_tokenizer(folder, target)


def test_folder_and_file_are_found(roberta_model: TinyModel) -> None:
    """A folder and any file in it stand for the same tokenizer."""
    assert find_tokenizer(str(roberta_model.folder)) == roberta_model.folder
    assert find_tokenizer(str(roberta_model.folder / "vocab.json")) == roberta_model.folder


@pytest.mark.parametrize(
    "location", ["nobody/nothing", "a/b/c d"], ids=["not reachable", "no such id can be"]
)
def test_hub_that_cannot_be_reached(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says that a folder does as well."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")

    with pytest.raises(TokenizerError, match=f"{location} is no folder here.* as --tokenizer"):
        find_tokenizer(location)


def test_hub_id_that_was_fetched_before(
    roberta_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: Path
) -> None:
    """A Hugging Face id gives the folder of its files."""
    cached = tmp_path / "models--team--tiny"
    commit = "0" * 40
    shutil.copytree(roberta_model.folder, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit, "utf-8")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")

    folder = find_tokenizer("team/tiny")

    assert convert_tokenizer(folder, target).pad_token_id == 1
