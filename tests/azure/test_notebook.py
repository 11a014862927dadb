"""The notebook that moves traffic, executed as it is with the genuine SDK v1 in its kernel."""

from __future__ import annotations

import json
import site
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests.azure.endpoints import KubernetesEndpoint
from tests.azure.standin import AzureStandIn
from tests.http.serving import PROJECT
from textclf.azureml.environment import Sdk, lay_environment

_NOTEBOOK = PROJECT / "notebooks" / "azure_traffic.ipynb"
_SECONDS = 120
# The kernel is the SDK's own environment. It has no ipykernel, which therefore comes from the
# packages of the tests; they stand last, so that those of the SDK win.
_START = """
import sys
sys.path += {folders!r}
from ipykernel.kernelapp import launch_new_instance
launch_new_instance()
"""


@pytest.fixture
def kernel(
    sdks: Mapping[str, Sdk],
    azure: AzureStandIn,  # noqa: ARG001 - what the kernel is led to
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """The name of a kernel that has the SDK."""
    spec = {
        "argv": [
            str(lay_environment(sdks["azureml"])),
            "-c",
            _START.format(folders=site.getsitepackages()),
            "-f",
            "{connection_file}",
        ],
        "display_name": "SDK v1",
        "language": "python",
    }
    folder = tmp_path / "jupyter" / "kernels" / "sdk-v1"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps(spec), "utf-8")
    monkeypatch.setenv("JUPYTER_PATH", str(folder.parents[1]))
    return folder.name


@pytest.fixture
def endpoint(azure: AzureStandIn) -> KubernetesEndpoint:
    """An endpoint with all traffic on its first version."""
    return azure.add_kubernetes_endpoint("sentiment", blue=100, green=0)


def _read() -> Any:
    return nbformat.read(_NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]


def _execute(kernel: str, folder: Path) -> str:
    """Execute the notebook without its pauses; return all that it printed."""
    notebook = _read()
    parameters = next(
        cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())
    )
    parameters.source += "\nPAUSE_SECONDS = 0"
    client = NotebookClient(
        notebook,
        timeout=_SECONDS,
        kernel_name=kernel,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    return json.dumps(notebook)


def test_a_good_version(
    kernel: str, endpoint: KubernetesEndpoint, azure: AzureStandIn, tmp_path: Path
) -> None:
    """Each step is taken and checked, and the new version ends up with everything."""
    printed = _execute(kernel, tmp_path)

    assert list(dict.fromkeys(s["green"] for s in endpoint.history)) == [0, 10, 25, 50, 100]
    assert (endpoint.percentiles, endpoint.default) == ({"blue": 0, "green": 100}, "green")
    assert endpoint.answered == {"blue": 200 + 180 + 150 + 100, "green": 20 + 50 + 100 + 200}
    assert printed.count("nothing wrong") >= 4
    assert not [secret for secret in azure.secrets if secret in printed]


@pytest.mark.parametrize(
    ("fault", "said"),
    [("broken", "status 500"), ("spelling", "positive is not a boolean")],
    ids=["500", "a text for a boolean"],
)
def test_a_bad_version(
    fault: str, said: str, kernel: str, endpoint: KubernetesEndpoint, tmp_path: Path
) -> None:
    """The first step finds it, and everything goes back to the old version."""
    getattr(endpoint, fault).add("green")

    printed = _execute(kernel, tmp_path)

    assert list(dict.fromkeys(s["green"] for s in endpoint.history)) == [0, 10]
    assert endpoint.shares == {"blue": 100, "green": 0}
    assert endpoint.answered["green"] == 20
    assert said in printed
    assert "back to blue" in printed


def test_begins_with_the_stable_version(
    kernel: str, endpoint: KubernetesEndpoint, tmp_path: Path
) -> None:
    """An endpoint that is in the middle of something is left as it is."""
    endpoint.percentiles = {"blue": 50, "green": 50}

    with pytest.raises(CellExecutionError, match="a rollout begins with 100 % at blue"):
        _execute(kernel, tmp_path)

    assert len(endpoint.history) == 1


def test_no_output_is_kept() -> None:
    """The notebook holds no output: that of a real workspace would tell too much."""
    code = [cell for cell in _read().cells if cell.cell_type == "code"]

    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
