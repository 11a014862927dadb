"""What `make azure-demo` shows: a model's way from a workspace of Azure ML to an answer over HTTP.

Only the workspace is played, by the stand-in; the SDK, the import, the service and curl are real.
"""

# ruff: noqa: T201 - a command

from __future__ import annotations

import logging
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.azure.standin import AzureStandIn, client_environment
from tests.http.serving import PROJECT, free_port, serve
from tests.tiny_models import write_roberta
from textclf.azureml.environment import V1, lay_environment
from textclf.errors import TextClassifierError
from textclf.termination import ending_on_sigterm

_GROUP, _WORKSPACE = AzureStandIn.resource_group, AzureStandIn.workspace
_GRAPH = "roberta-sequence-classification-9.onnx"
_REGISTER = f"""\
import json, os
from azureml.core import Model, Workspace
from azureml.core.authentication import ServicePrincipalAuthentication

me = json.loads(os.environ["AZURE_CREDENTIALS"])
auth = ServicePrincipalAuthentication(me["tenantId"], me["clientId"], me["clientSecret"])
workspace = Workspace(me["subscriptionId"], "{_GROUP}", "{_WORKSPACE}", auth=auth)
print(Model.register(workspace, "{_GRAPH}", "roberta-sequence").id)
"""


def main() -> int:
    """Register, import, serve and ask; return 0 only if all of it worked."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    missing = [tool for tool in ("curl", "openssl") if shutil.which(tool) is None]
    if missing:
        print(f"not on PATH: {', '.join(missing)}; install that and retry", file=sys.stderr)
        return 1
    try:
        with ending_on_sigterm(), tempfile.TemporaryDirectory(prefix="azure-demo-") as folder:
            _demonstrate(Path(folder))
    except TextClassifierError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    except subprocess.CalledProcessError as exc:
        print(f"{exc.cmd[0]} ended with exit code {exc.returncode}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _demonstrate(folder: Path) -> None:
    sdk_python = lay_environment(V1)  # before the stand-in shuts the network off
    tokenizer = write_roberta(folder / "roberta-base")
    tokenizer.graph.rename(folder / _GRAPH)
    (folder / "register.py").write_text(_REGISTER, "utf-8")
    print(f"# {_WORKSPACE} is no workspace of Azure's: it is played on this machine")
    with AzureStandIn() as standin:
        variables = client_environment(standin, folder / "home")
        variables |= {"TMPDIR": str(folder), "BENTOML_HOME": str(folder / "bentoml")}
        _run("cat", "register.py", folder=folder)
        _run("python", "register.py", folder=folder, python=sdk_python, variables=variables)
        _run(
            *("scripts/import_model.py", "azureml", "roberta-sequence:1"),
            *("--workspace", _WORKSPACE, "--resource-group", _GROUP),
            *("--tokenizer", str(tokenizer.folder)),
            variables=variables,
        )
    port = free_port()
    _announce("bentoml", "serve", "--host", "127.0.0.1", "--port", str(port))
    with serve(folder, port=port) as served:
        _run(
            *("curl", "-sSf", "-H", "Content-Type: application/json"),
            *("-d", '["MLOps is critical for robustness"]', f"{served.url}/predict"),
        )
        print()


def _announce(*command: str) -> None:
    print(f"\n$ {shlex.join(command)}", flush=True)


def _run(
    *command: str,
    folder: Path = PROJECT,
    python: str | Path = sys.executable,
    variables: Mapping[str, str] | None = None,
) -> None:
    """Show a command and what it prints.

    Raises:
        CalledProcessError: It failed.
    """
    _announce(*command)
    path = os.pathsep.join([str(Path(python).parent), os.environ["PATH"]])
    environment = os.environ | (variables or {}) | {"PATH": path}
    subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    sys.exit(main())
