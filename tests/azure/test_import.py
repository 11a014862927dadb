"""What Azure ML is asked for a model: the import command and the genuine SDKs, and a stand-in."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import certifi
import pytest

from tests.azure.entra import make_token
from tests.azure.importer import Importer
from tests.azure.standin import AzureStandIn
from tests.tiny_models import TinyModel
from textclf.azureml.credentials import parse_credentials
from textclf.azureml.environment import Sdk
from textclf.azureml.failures import Workspace
from textclf.sources import AzureMLSource, AzureMLV2Source
from textclf.sources.limits import Limits

SOURCES = ("azureml", "azureml-v2")


@pytest.mark.parametrize("source", SOURCES)
def test_name_and_version(source: str, importer: Importer, sdks: Mapping[str, Sdk]) -> None:
    """The model is in the store, and says where it comes from without any secret."""
    outcome = importer.finish(importer.start(source, "demo:1", "--json"))

    assert outcome.code == 0, outcome.errors
    assert json.loads(outcome.output)["tag"] == "sentiment:demo-1"
    assert (importer.tags(), importer.left()) == (["demo-1"], [])
    text = (importer.home / "models/sentiment/demo-1/classifier.json").read_text("utf-8")
    lineage = json.loads(text)["lineage"]
    assert lineage["source"] == source
    assert lineage["uri"].startswith(f"azureml://subscriptions/{importer.azure.subscription}/")
    assert lineage["uri"].endswith("/workspaces/ml-ws/models/demo/versions/1")
    assert lineage["sdk"] == sdks[source].label
    assert [secret for secret in importer.azure.secrets if secret in text] == []


@pytest.mark.parametrize("source", SOURCES)
def test_latest(source: str, importer: Importer, roberta_model: TinyModel) -> None:
    """The newest version is taken, and named."""
    graph = roberta_model.graph.read_bytes()
    importer.azure.add_model("demo", {"tiny.onnx": graph}, version=12)

    outcome = importer.run(source, "demo", "--latest", "--dry-run")

    assert outcome.code == 0, outcome.errors
    assert "the latest version of demo is 12\n" in outcome.errors
    assert outcome.output.startswith("sentiment:demo-12 can be imported\n")


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["demo"], 20, "which version of demo is meant? give either demo:VERSION, or --latest"),
        (["demo:1", "--latest"], 20, "give either demo:VERSION, or --latest and demo alone"),
        (["../demo:1"], 2, "'../demo:1' cannot be NAME:VERSION"),
        (["demo:1", "--workspace", "a/b"], 2, "'a/b' cannot be a workspace"),
        (["demo:1", "--timeout-seconds", "0"], 2, "must be positive, got 0"),
    ],
    ids=["no version", "version and latest", "name", "workspace", "no time"],
)
def test_command_line(
    source: str, arguments: list[str], code: int, said: str, importer: Importer
) -> None:
    """What cannot be meant is refused before anything is asked."""
    outcome = importer.run(source, *arguments)

    assert (outcome.code, said in outcome.error) == (code, True), outcome.errors
    assert importer.azure.requests == []


def _take_another_secret(azure: AzureStandIn) -> None:
    azure.registry.client_secret = "another"  # noqa: S105


def _hide_subscription(azure: AzureStandIn) -> None:
    azure.faults.subscription_invisible = True


def _remove_workspace(azure: AzureStandIn) -> None:
    azure.faults.workspace_missing = True


def _forbid_models(azure: AzureStandIn) -> None:
    azure.faults.models_status = 403


def _remove_model(azure: AzureStandIn) -> None:
    azure.registry.models.clear()


def _replace_version(azure: AzureStandIn) -> None:
    versions = azure.registry.models["demo"]
    versions[7] = versions.pop(1)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        (_take_another_secret, 27, ["AADSTS7000215", "its ID", "az ad sp credential reset"]),
        (_hide_subscription, 27, ["subscription 22222222-", "az account list", "a role there"]),
        (
            _remove_workspace,
            21,
            ["no workspace ml-ws in resource group practical-mlops, sub", "az ml workspace list"],
        ),
        (_remove_model, 21, ["no model demo:1 in workspace", "az ml model list --name demo"]),
        (_replace_version, 21, ["no model demo:1 in workspace", "az ml model list --name demo"]),
        (_forbid_models, 27, ["model demo:1", "(403)", "the role AzureML Data Scientist"]),
    ],
    ids=["secret", "subscription", "workspace", "model", "version", "forbidden"],
)
def test_refused_by_the_registry(
    source: str,
    fault: Callable[[AzureStandIn], None],
    code: int,
    said: list[str],
    importer: Importer,
) -> None:
    """Both SDKs' errors become one message that names the object and the remedy, at once."""
    fault(importer.azure)

    outcome = importer.run(source, "demo:1")

    importer.check_refused(outcome, code, *said)
    assert outcome.seconds < 30


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("names", "value", "said"),
    [
        (
            ["HTTPS_PROXY", "https_proxy"],
            "http://me:PLANTEDproxy@127.0.0.1:9",
            "through the proxy 127.0.0.1:9; check HTTPS_PROXY",
        ),
        (
            ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"],
            certifi.where(),
            "CA bundle in both REQUESTS_CA_BUNDLE and SSL_CERT_FILE",
        ),
    ],
    ids=["dead proxy", "unknown CA"],
)
def test_unreachable(  # noqa: PLR0913, PLR0917
    source: str,
    names: list[str],
    value: str,
    said: str,
    importer: Importer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A proxy that is dead, or that nobody trusts, is named with the variables that set it."""
    for name in names:
        monkeypatch.setenv(name, value)

    outcome = importer.run(source, "demo:1")

    importer.check_refused(outcome, 28, said)
    assert "PLANTEDproxy" not in outcome.errors


@pytest.mark.parametrize("source", SOURCES)
def test_hung_server(source: str, importer: Importer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing ever answers, the limit on the time ends the SDK."""
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections, says nothing
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.getsockname()[1]}")
        outcome = importer.run(source, "demo:1", "--timeout-seconds", "3")

    importer.check_refused(
        outcome, 28, "find model demo:1 in", "within 3 seconds", "--timeout-seconds"
    )
    assert 3 < outcome.seconds < 30


@pytest.fixture
def az(importer: Importer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program on PATH that answers as ``az`` does when logged in; no AZURE_CREDENTIALS."""
    token = {"accessToken": make_token(), "expires_on": 4102444800, "tokenType": "Bearer"}
    program = tmp_path / "bin" / "az"
    program.parent.mkdir()
    program.write_text(
        f"""#!/bin/sh
case "$*" in
  *get-access-token*) echo '{json.dumps(token)}' ;;
  *) echo {importer.azure.subscription} ;;
esac
""",
        "utf-8",
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.delenv("AZURE_CREDENTIALS")
    return program


@pytest.mark.usefixtures("az")
@pytest.mark.parametrize("source", SOURCES)
def test_az_login(source: str, importer: Importer) -> None:
    """Without AZURE_CREDENTIALS, whoever az has logged in is used, in az's subscription."""
    outcome = importer.run(source, "demo:1", "--dry-run")

    assert outcome.code == 0, outcome.errors


@pytest.mark.parametrize("source", SOURCES)
def test_nobody_is_logged_in(source: str, importer: Importer, az: Path) -> None:
    """Without any identity, what to set is said; nobody is asked to open a browser."""
    az.write_text("#!/bin/sh\necho \"Please run 'az login' to setup account.\" >&2\nexit 1")

    outcome = importer.run(source, "demo:1")

    importer.check_refused(outcome, 27, "AZURE_CREDENTIALS is not set", "or run az login")


@pytest.mark.parametrize("source", SOURCES)
def test_credentials_without_subscription(
    source: str, importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service principal alone does not say where to look."""
    told = importer.azure.credentials
    names = {"appId": "clientId", "password": "clientSecret", "tenant": "tenantId"}
    credentials = {name: told[other] for name, other in names.items()}
    monkeypatch.setenv("AZURE_CREDENTIALS", json.dumps(credentials))

    importer.check_refused(importer.run(source, "demo:1"), 27, "give --subscription-id")
    given = importer.run(
        source, "demo:1", "--subscription-id", importer.azure.subscription, "--dry-run"
    )
    assert given.code == 0, given.errors


@pytest.mark.parametrize("source", [AzureMLSource, AzureMLV2Source])
def test_nothing_secret_is_logged(
    source: type[AzureMLSource | AzureMLV2Source],
    importer: Importer,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Even where every logger prints all it has, no secret is in it."""
    caplog.set_level(logging.DEBUG)
    azure = importer.azure
    model = source(
        name="demo",
        version="1",
        workspace=Workspace(
            name=azure.workspace,
            resource_group=azure.resource_group,
            subscription_id=azure.subscription,
        ),
        credentials=parse_credentials(json.dumps(azure.credentials)),
        model_path=None,
        limits=Limits(),
    )

    fetched = model.fetch(importer.temporary)

    printed = caplog.text + "".join(capfd.readouterr()) + repr(model) + repr(fetched)
    assert "downloading 2 files of azureml://" in printed
    assert [secret for secret in azure.secrets if secret in printed] == []
    assert fetched.registered_by == "textclf tests"
    assert str(fetched.workspace).startswith("ml-ws in resource group practical-mlops, subscript")
