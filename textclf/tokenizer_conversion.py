"""Any tokenizer that transformers reads, as the tokenizer.json that is served."""

from __future__ import annotations

import importlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tokenizers import Tokenizer

from textclf.errors import TokenizerError

DEFAULT_MAX_TOKENS = 512
_CONFIG_FILES = ("tokenizer_config.json", "special_tokens_map.json", "config.json")
_VOCABULARY_FILES = (
    "tokenizer.json",
    "vocab.json",
    "vocab.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
    "tokenizer.model",
)
HUB_FILES = (*_VOCABULARY_FILES, "merges.txt", "added_tokens.json", *_CONFIG_FILES)
_PAD_TOKENS = ("<pad>", "[PAD]")

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ConvertedTokenizer:
    """What the classifier's description has to say of a tokenizer.json.

    Attributes:
        pad_token_id: Id that fills a batch.
        max_tokens: Longest input, special tokens included.
        adds_special_tokens: Whether a text gets tokens at its start or end.
    """

    pad_token_id: int
    max_tokens: int
    adds_special_tokens: bool


def has_tokenizer(folder: Path) -> bool:
    """Say whether a folder holds any file that a tokenizer is made from."""
    return any((folder / name).is_file() for name in _VOCABULARY_FILES)


def find_tokenizer(location: str) -> Path:
    """Return the folder of a tokenizer, downloaded if ``location`` is a Hugging Face id.

    Raises:
        TokenizerError: There is no such folder, or the id cannot be reached.
    """
    path = Path(location)
    if path.is_file():
        path = path.parent
    if path.is_dir():
        return path
    hub = importlib.import_module("huggingface_hub")
    try:
        return Path(hub.snapshot_download(location, allow_patterns=[*HUB_FILES]))
    except (OSError, ValueError, hub.errors.HfHubHTTPError) as exc:
        raise TokenizerError(
            f"{location} is no folder here, and as a Hugging Face id it cannot be fetched "
            f"({str(exc).splitlines()[0]}); check the spelling and the network, or give a folder "
            "with tokenizer.json as --tokenizer"
        ) from exc


def convert_tokenizer(
    folder: Path, target: Path, *, max_tokens: int | None = None
) -> ConvertedTokenizer:
    """Write the tokenizer in ``folder`` to ``target`` without padding and truncation.

    A tokenizer.json is taken as it is: transformers 5 builds many tokenizers anew from its
    vocabulary and drops its normalizer. Other forms go through transformers.

    Args:
        folder: Holds tokenizer.json, vocab.json with merges.txt, vocab.txt, or SentencePiece's.
        target: The tokenizer.json to write.
        max_tokens: Longest input; by default what the tokenizer says, at most 512.

    Raises:
        TokenizerError: The files cannot be read, or lack what is needed; the message says what.
    """
    config = {name: _read_json(folder / name) for name in _CONFIG_FILES}
    tokenizer = _read_tokenizer(folder, config)
    pad_token_id = _pad_token_id(tokenizer, config, folder)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(target))
    return ConvertedTokenizer(
        pad_token_id=pad_token_id,
        max_tokens=max_tokens or _longest_input(config["tokenizer_config.json"], folder),
        adds_special_tokens=tokenizer.num_special_tokens_to_add(is_pair=False) > 0,
    )


def _longest_input(config: dict[str, Any], folder: Path) -> int:
    longest = config.get("model_max_length") or DEFAULT_MAX_TOKENS
    if not isinstance(longest, int | float) or longest < 2:
        raise TokenizerError(
            f"model_max_length of tokenizer_config.json in {folder} is {longest!r}, no number of "
            "tokens; mend it or give --max-tokens"
        )
    return int(min(DEFAULT_MAX_TOKENS, longest))


def vocabulary_ids(path: Path) -> set[int]:
    """Return every id that the tokenizer.json at ``path`` can give.

    Raises:
        TokenizerError: It cannot be read.
    """
    try:
        vocabulary = Tokenizer.from_file(str(path)).get_vocab(with_added_tokens=True)
    except Exception as exc:  # tokenizers raises bare Exception
        raise TokenizerError(f"cannot read {path}: {exc}; save the tokenizer again") from exc
    return set(vocabulary.values())


def _read_tokenizer(folder: Path, config: dict[str, dict[str, Any]]) -> Tokenizer:
    try:
        if (folder / "tokenizer.json").is_file():
            return Tokenizer.from_file(str(folder / "tokenizer.json"))
        return _build_tokenizer(folder, config)
    except TokenizerError:
        raise
    except Exception as exc:  # tokenizers raises bare Exception, transformers several kinds
        reason = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        raise TokenizerError(
            f"cannot read a tokenizer from {folder}: {reason}; give a folder with tokenizer.json, "
            "vocab.json and merges.txt, or vocab.txt as --tokenizer"
        ) from exc


def _build_tokenizer(folder: Path, config: dict[str, dict[str, Any]]) -> Tokenizer:
    transformers = _import_transformers()
    options: dict[str, Any] = {"local_files_only": True}
    declared = config["tokenizer_config.json"].get("tokenizer_class")
    if declared or config["config.json"].get("model_type"):
        kind = transformers.AutoTokenizer
        options["trust_remote_code"] = False  # None asks on the terminal
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        _require_roberta_tokens(folder / "vocab.json")
        _LOGGER.info("%s has no configuration: read as RoBERTa's byte-level BPE", folder)
        kind = transformers.RobertaTokenizer
    elif (folder / "vocab.txt").is_file():
        lower_case = _is_lower_case(folder / "vocab.txt")
        options["do_lower_case"] = lower_case
        case = "lower-case" if lower_case else "cased"
        _LOGGER.info("%s has no configuration: read as BERT's %s WordPiece", folder, case)
        kind = transformers.BertTokenizer
    else:
        raise TokenizerError(
            f"{folder} holds no tokenizer.json, no vocab.json with merges.txt and no vocab.txt; "
            "add the tokenizer's configuration or give another --tokenizer"
        )
    return cast("Tokenizer", kind.from_pretrained(str(folder), **options).backend_tokenizer)


def _import_transformers() -> Any:
    # Without PyTorch, importing it prints advice that does not concern tokenizers.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    return importlib.import_module("transformers")


def _require_roberta_tokens(vocabulary_file: Path) -> None:
    missing = [t for t in ("<s>", "</s>", "<pad>") if t not in _read_json(vocabulary_file)]
    if missing:
        raise TokenizerError(
            f"{vocabulary_file} lacks RoBERTa's {', '.join(missing)}, and nothing beside it says "
            "what tokenizer it is; add its tokenizer_config.json or give a tokenizer.json"
        )


def _is_lower_case(vocabulary_file: Path) -> bool:
    tokens = vocabulary_file.read_text("utf-8").split("\n")
    return all(t == t.lower() for t in tokens if not t.startswith("["))


def _pad_token_id(tokenizer: Tokenizer, config: dict[str, dict[str, Any]], folder: Path) -> int:
    if tokenizer.padding:
        return int(tokenizer.padding["pad_id"])
    declared = [config[name].get("pad_token") for name in _CONFIG_FILES[:2]]
    names = [token["content"] if isinstance(token, dict) else token for token in declared]
    for name in (*filter(None, names), *_PAD_TOKENS):
        token_id = tokenizer.token_to_id(name)
        if token_id is not None:
            return int(token_id)
    model_says = config["config.json"].get("pad_token_id")
    if isinstance(model_says, int):
        return model_says
    raise TokenizerError(
        f"the tokenizer in {folder} has no padding token; name one as pad_token in "
        "tokenizer_config.json beside it"
    )


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as exc:
        raise TokenizerError(f"cannot read {path}: {exc}; mend it or give another file") from exc
    return content if isinstance(content, dict) else {}
