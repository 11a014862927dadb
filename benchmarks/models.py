"""The models that are measured: made once, from random weights where no real ones are needed.

What a graph costs depends on its shape and not on its weights.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx

from benchmarks.corpus import read_corpus
from benchmarks.errors import BenchmarkError
from benchmarks.paths import KEPT, ROOT
from benchmarks.systems import Model
from benchmarks.targets import LARGE, REFERENCE
from tests.encoder_graphs import EncoderShape, encoder_graph
from textclf.artifact import TOKENIZER
from textclf.description import InputRole
from textclf.inference import open_session, pad, softmax
from textclf.optimization.variants import INT8_VARIANTS
from textclf.tokenization import Tokenizer

MADE = KEPT / "models"
NAMES = (REFERENCE, LARGE)
REFERENCE_FOLDER = ROOT / "models" / "reference"
_STOCK = "int8 dynamic"
_SHAPES: Mapping[str, EncoderShape] = {
    REFERENCE: EncoderShape(
        layers=6,
        width=384,
        heads=12,
        tokens=30_522,
        positions=512,
        masked=True,
        pad_positions=False,
        style="script-sdpa",
    ),
    LARGE: EncoderShape(
        layers=12,
        width=768,
        heads=12,
        tokens=50_265,
        masked=True,
        pad_positions=False,
        style="script-sdpa",
    ),
}
_LONGEST_TOKENS = 512
_GOLDEN_TEXTS = "golden.txt"
_SURE_MARGIN = 0.5
_INPUTS: Mapping[InputRole, str] = {
    "input_ids": "input_ids",
    "attention_mask": "attention_mask",
}


def make_model(name: str, fp32: Path | None = None) -> Model:
    """Return one of ``NAMES``, and make what there is not of it yet.

    Args:
        name: Of the model.
        fp32: A real graph of the reference model in place of one with random weights.

    Raises:
        BenchmarkError: A part could not be made.
    """
    folder = MADE / name.partition(" ")[0].lower()
    folder.mkdir(parents=True, exist_ok=True)
    if fp32 is None or name != REFERENCE:
        fp32 = _once(folder / "fp32.onnx", lambda path: _write_graph(name, path))
        stock = folder / "stock.onnx"
    else:
        stock = folder / f"stock-{fp32.stat().st_mtime_ns}.onnx"
    return Model(
        name=name,
        folder=REFERENCE_FOLDER if name == REFERENCE else _import(folder, fp32),
        fp32=fp32,
        stock=_once(stock, lambda path: _quantize_stock(fp32, path)),
    )


def _once(path: Path, write: Callable[[Path], None]) -> Path:
    """Write a file under another name first, so that an interrupted run leaves no half of it."""
    if not path.is_file():
        print(f"making {path.relative_to(ROOT)}", file=sys.stderr, flush=True)  # noqa: T201
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            write(temporary)
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def _write_graph(name: str, path: Path) -> None:
    onnx.save_model(encoder_graph(_SHAPES[name]), path)


def _quantize_stock(fp32: Path, path: Path) -> None:
    (variant,) = (variant for variant in INT8_VARIANTS if variant.name == _STOCK)
    variant.build(fp32, path, [])


def _import(folder: Path, fp32: Path) -> Path:
    """Return the classifier folder that an import of the graph gives, as the service serves it."""
    served = folder / f"served-{_optimizer_sha256()[:12]}"
    if served.is_dir():
        return served
    print(f"importing {fp32.relative_to(ROOT)}, minutes", file=sys.stderr, flush=True)  # noqa: T201
    home, source = folder / "bentoml", folder / "source"
    source.mkdir(exist_ok=True)
    _write_tokenizer(source)
    _write_golden_texts(source, fp32)
    done = subprocess.run(  # noqa: S603  # our own command
        [
            *(sys.executable, "-m", "scripts.import_model", "local", str(fp32), "--json"),
            *("--precision", "int8", "--max-tokens", str(_LONGEST_TOKENS)),
            *("--golden-texts", str(source / _GOLDEN_TEXTS), "--tokenizer", str(source)),
            *("--name", folder.name, "--version", "1"),
        ],
        cwd=ROOT,
        env=os.environ | {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"},
        check=False,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise BenchmarkError(f"{fp32} could not be imported; read why above, and retry")
    tag = json.loads(done.stdout)["tag"]
    stored = home / "models" / Path(*tag.split(":"))
    temporary = served.with_suffix(f".{os.getpid()}.tmp")
    shutil.copytree(stored, temporary)
    temporary.rename(served)
    shutil.rmtree(home)
    return served


def _optimizer_sha256() -> str:
    """Return what tells one state of the optimiser from another, by which graphs are made again."""
    sources = sorted((ROOT / "textclf" / "optimization").glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def _write_tokenizer(folder: Path) -> None:
    """Write the reference tokenizer with no limit of its own: both models read the same ids."""
    tokenizer: dict[str, Any] = json.loads((REFERENCE_FOLDER / TOKENIZER).read_text("utf-8"))
    tokenizer |= {"truncation": None, "padding": None}
    (folder / TOKENIZER).write_text(json.dumps(tokenizer), "utf-8")


def _write_golden_texts(folder: Path, fp32: Path) -> None:
    """Write the texts that random weights happen to be sure about.

    A near-tie falls to either side in int8, and an import would refuse the graph for it.
    """
    session = open_session(fp32)
    tokenizer = Tokenizer(folder / TOKENIZER, max_tokens=_LONGEST_TOKENS)
    sure = []
    for text in read_corpus():
        ids = tokenizer.encode([text])[0].input_ids
        feeds = pad([ids], inputs=_INPUTS, pad_token_id=0)
        least, most = sorted(softmax(session.run(None, feeds)[0])[0])
        if most - least >= _SURE_MARGIN:
            sure.append(text)
    (folder / _GOLDEN_TEXTS).write_text("\n".join(sure) + "\n", "utf-8")
