"""What is measured: this project and its peers, each a process that answers HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model as every system is given it.

    Attributes:
        name: For tables.
        folder: Classifier folder: model.onnx (int8, what every system but one serves),
            tokenizer.json, classifier.json.
        fp32: The same architecture in fp32; only the book's app serves it.
        stock: The fp32 graph after onnxruntime's ``quantize_dynamic``; only its limit is measured.
    """

    name: str
    folder: Path
    fp32: Path
    stock: Path


@dataclass(frozen=True, kw_only=True)
class Route:
    """How a system is asked for texts.

    Attributes:
        path: Of the URL.
        encode: Makes the body of a request for these texts.
        accepts: Says whether the body of an answer of 200 holds an answer for so many texts.
    """

    path: str
    encode: Callable[[Sequence[str]], bytes]
    accepts: Callable[[bytes, int], bool]


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A process to start.

    Attributes:
        argv: The program and its arguments.
        env: Added to the environment.
        cwd: Where it runs.
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None


@dataclass(frozen=True, kw_only=True)
class System:
    """One way to serve a model.

    Attributes:
        name: For tables.
        peer: Folder of ``benchmarks/peers`` whose environment it runs in; empty for this project.
        launch: Says how to serve a model on a port of 127.0.0.1.
        ready: Path that answers 200 once it serves.
        one: Takes one text a request.
        many: Takes 16 texts a request; None if the system has no such route.
    """

    name: str
    peer: str
    launch: Callable[[Model, int], Launch]
    ready: str
    one: Route
    many: Route | None
