"""What is downloaded from Azure ML: files that are refused, broken, harmful or never end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.azure.importer import Importer
from tests.azure.standin import AzureStandIn
from tests.tiny_models import TinyModel

Fault = Callable[[AzureStandIn], None]


def _fail_once(azure: AzureStandIn) -> None:
    azure.faults.blob_fail_times = 1


def _truncate_once(azure: AzureStandIn) -> None:
    azure.faults.blob_truncate_times = 1


def _keep_no_key(azure: AzureStandIn) -> None:
    azure.registry.datastore_credentials = "None"


def _keep_the_key(azure: AzureStandIn) -> None:
    azure.registry.expirable_secrets = False


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("azureml", _fail_once),
        ("azureml-v2", _fail_once),
        ("azureml", _truncate_once),
        ("azureml-v2", _truncate_once),
        ("azureml-v2", _keep_no_key),
        ("azureml-v2", _keep_the_key),
    ],
    ids=["v1 503", "v2 503", "v1 truncated", "v2 truncated", "v2 no key", "v2 key"],
)
def test_recovers(source: str, fault: Fault, importer: Importer) -> None:
    """What fails once is tried again; a datastore may keep a SAS, a key or nothing."""
    fault(importer.azure)

    outcome = importer.run(source, "demo:1", "--dry-run")

    assert outcome.code == 0, outcome.errors
    assert importer.left() == []


def _refuse(azure: AzureStandIn) -> None:
    azure.faults.blob_status = 403


def _truncate_always(azure: AzureStandIn) -> None:
    azure.faults.blob_truncate_times = 1000


def _lead_outside(azure: AzureStandIn) -> None:
    azure.faults.artifact_path = "../evil.onnx"


def _change(azure: AzureStandIn) -> None:
    azure.faults.blob_change = True


def _empty(azure: AzureStandIn) -> None:
    for path, blob in azure.registry.blobs.items():
        if path.endswith(".onnx"):
            blob.content = b""


def _hold(azure: AzureStandIn) -> None:
    azure.faults.hold_downloads = True


@pytest.mark.parametrize(
    ("source", "fault", "options", "code", "said"),
    [
        (
            "azureml",
            _refuse,
            [],
            27,
            ["of workspace ml-ws", "model demo:1;", "Storage Blob Data Reader"],
        ),
        (
            "azureml-v2",
            _refuse,
            [],
            27,
            ["of workspace ml-ws", "model demo:1;", "Storage Blob Data Reader"],
        ),
        ("azureml", _truncate_always, [], 28, ["the connection broke", "4 times in a row"]),
        ("azureml", _lead_outside, [], 29, ["'../evil.onnx', which leads out of its folder"]),
        ("azureml-v2", _lead_outside, [], 29, ["/../evil.onnx', which leads out of its folder"]),
        ("azureml", _change, [], 29, ["tiny.onnx has the sha256", "the tag sha256 of demo:1 says"]),
        (
            "azureml-v2",
            _change,
            [],
            29,
            ["tiny.onnx has the sha256", "the tag sha256 of demo:1 says"],
        ),
        ("azureml", _empty, [], 29, ["tiny.onnx'", "is empty", "register the model again"]),
        ("azureml-v2", _empty, [], 29, ["tiny.onnx'", "is empty", "register the model again"]),
        ("azureml", _fail_once, ["--max-bytes", "9000"], 28, ["9000 bytes", "--max-bytes"]),
        ("azureml", _hold, ["--timeout-seconds", "8"], 28, ["longer than", "--timeout-seconds"]),
    ],
    ids=[
        "v1 403",
        "v2 403",
        "always truncated",
        "v1 path outside",
        "v2 path outside",
        "v1 another hash",
        "v2 another hash",
        "v1 empty",
        "v2 empty",
        "too large",
        "hung",
    ],
)
def test_refused(  # noqa: PLR0913, PLR0917
    source: str, fault: Fault, options: list[str], code: int, said: list[str], importer: Importer
) -> None:
    """The message names the file and the remedy, soon, and nothing is left anywhere."""
    fault(importer.azure)

    outcome = importer.run(source, "demo:1", *options)

    importer.check_refused(outcome, code, *said)
    assert outcome.seconds < 60  # the SDK itself would wait for 280 seconds after a 403
    assert not list(importer.home.parent.rglob("*evil*"))


@pytest.mark.parametrize("source", ["azureml", "azureml-v2"])
def test_several_graphs(source: str, importer: Importer, roberta_model: TinyModel) -> None:
    """Where a model has several graphs they are listed, and --model-path takes one."""
    graph = roberta_model.graph.read_bytes()
    importer.azure.add_model("two", {"fp32/a.onnx": graph, "int8/b.onnx": graph})

    outcome = importer.run(source, "two:1")
    importer.check_refused(
        outcome, 21, "several graphs (model/fp32/a.onnx, model/int8/b.onnx)", "--model-path"
    )
    taken = importer.run(source, "two:1", "--model-path", "model/int8/b.onnx", "--dry-run")
    assert taken.code == 0, taken.errors


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("sha256", "model.onnx has the sha256"),
        ("sha256_classifier_json", "classifier.json has the sha256"),
    ],
)
def test_classifier_folder_that_was_changed(
    tag: str, said: str, importer: Importer, classifier_folder: Path
) -> None:
    """Of a classifier folder the graph and the description are compared with the tags."""
    files = {path.name: path.read_bytes() for path in classifier_folder.iterdir()}
    importer.azure.add_model("whole", files, tags={tag: "0" * 64})

    outcome = importer.run("azureml", "whole:1")

    importer.check_refused(outcome, 29, said, f"the tag {tag} of whole:1 says {'0' * 64}")
