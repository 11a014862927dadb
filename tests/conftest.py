"""Parts that tests of several folders share."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import subprocess
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models.model import ModelStore

from tests.tiny_models import TinyModel, write_bert, write_roberta
from textclf import store
from textclf.importing import ImportOptions, import_model
from textclf.sources import LocalSource

_KUBECTL_MINOR = 27


@pytest.fixture(scope="session", autouse=True)
def _no_tracking() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_DO_NOT_TRACK", "True")
        yield


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Take back what a service did to its logger, and a command to the root's.

    The root's stream ends with its test.
    """
    own = logging.getLogger("textclf")
    own.handlers, own.propagate = [], True
    own.setLevel(logging.NOTSET)
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)
    for handler in list(root.handlers):
        if type(handler) is logging.StreamHandler:  # pytest's own are of kinds derived from it
            root.removeHandler(handler)


@pytest.fixture
def bentoml_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty BentoML home, for this process and those it starts."""
    home = tmp_path / "bentoml"
    monkeypatch.setenv("BENTOML_HOME", str(home))
    with use_store(home):
        yield home


@contextlib.contextmanager
def use_store(home: Path) -> Iterator[None]:
    """Point this process to the model store in ``home``; BentoML reads its variable only once."""
    models = home / "models"
    models.mkdir(parents=True, exist_ok=True)
    BentoMLContainer.model_store_dir.set(str(models))
    BentoMLContainer.model_store.set(ModelStore(models))
    try:
        yield
    finally:
        BentoMLContainer.model_store_dir.reset()
        BentoMLContainer.model_store.reset()


@pytest.fixture(scope="session")
def roberta_model(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """A graph that takes ``input_ids`` alone, with vocab.json and merges.txt beside it."""
    return write_roberta(tmp_path_factory.mktemp("roberta") / "tiny-roberta")


@pytest.fixture(scope="session")
def bert_model(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """A graph that takes ``input_ids`` and ``attention_mask``, with vocab.txt beside it."""
    return write_bert(tmp_path_factory.mktemp("bert") / "tiny-bert")


@pytest.fixture(scope="session")
def classifier_folder(roberta_model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier folder, tag ``sentiment:tiny-1``, whose graph has no attention mask."""
    return _import(roberta_model, "tiny", tmp_path_factory.mktemp("store") / "bentoml")


@pytest.fixture(scope="session")
def masked_classifier_folder(
    bert_model: TinyModel, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A classifier folder, tag ``sentiment:masked-1``, whose graph has an attention mask."""
    return _import(bert_model, "masked", tmp_path_factory.mktemp("store") / "bentoml")


def _import(model: TinyModel, name: str, home: Path) -> Path:
    with use_store(home):
        report = import_model(LocalSource(model.graph), ImportOptions(name=name))
        return store.locate(report.tag)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how long the tests against Azure ML took: they are most of the wait."""
    reports = [
        report
        for report in chain.from_iterable(terminalreporter.stats.values())
        if isinstance(report, pytest.TestReport) and report.nodeid.startswith("tests/azure/")
    ]
    if reports:
        tests = len({report.nodeid for report in reports})
        seconds = sum(report.duration for report in reports)
        terminalreporter.write_line(f"Azure tests: {tests} tests, {seconds:.0f} s")


def require(available: bool, reason: str) -> None:
    """Skip the test unless a real part is there; fail instead where every part must be."""
    if available:
        return
    if os.environ.get("TEXTCLF_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def require_kubectl() -> None:
    """Skip the test unless there is a kubectl that knows the kustomizations of today.

    Debian's is older and no package index has one, so that its absence is never a failure.
    """
    if _kubectl_minor() < _KUBECTL_MINOR:
        pytest.skip(f"there is no kubectl 1.{_KUBECTL_MINOR} or newer")


@functools.cache
def _kubectl_minor() -> int:
    command = ["kubectl", "version", "--client", "--output", "json"]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return 0
    return int(json.loads(done.stdout)["clientVersion"]["minor"].rstrip("+"))
