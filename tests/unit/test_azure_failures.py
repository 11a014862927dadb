"""Each failure of an SDK is told from the others, and becomes an error with its remedy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from textclf.azureml.failures import Failure, Workspace, to_error
from textclf.azureml.worker import explain
from textclf.errors import AccessError, DownloadError, ModelImportError, SourceNotFoundError

_WORKSPACE = Workspace(name="ws", resource_group="rg", subscription_id=None)


@pytest.mark.parametrize(
    ("kind", "detail", "error", "said"),
    [
        ("credentials", "AADSTS7000215", AccessError, "its ID is often pasted in place of its"),
        ("credentials", "AADSTS7000222", AccessError, "expired; make a new one with az ad sp"),
        ("credentials", "AADSTS700016", AccessError, "its clientId is not in its tenant; check"),
        ("credentials", "AADSTS90002", AccessError, "its tenant does not exist; check tenantId"),
        ("credentials", "AADSTS53003", AccessError, "(AADSTS53003): check AZURE_CREDENTIALS, or"),
        ("no-credentials", "", AccessError, "or run az login"),
        ("no-subscription", "", AccessError, "give --subscription-id, or choose one with az"),
        ("subscription", "", AccessError, "subscription of az is not there, or not visible"),
        ("forbidden", "workspace 403", AccessError, "workspace ws in resource group rg, subscri"),
        ("forbidden", "model 403", AccessError, "model demo:1 in workspace ws in resource gro"),
        ("forbidden", "files 403", AccessError, "or Storage Blob Data Contributor to register"),
        ("workspace", "", SourceNotFoundError, "az ml workspace list --resource-group rg"),
        ("model", "", SourceNotFoundError, "list --name demo --workspace-name ws --resource-gr"),
        ("files", "", SourceNotFoundError, "model demo:1 in workspace ws"),
        ("endpoint", "", SourceNotFoundError, "there is no endpoint demo in workspace ws in res"),
        ("forbidden", "endpoint 403", AccessError, "endpoint demo in workspace ws in resource gr"),
        ("conflict", "", DownloadError, "endpoint demo in workspace ws in resource group rg, sub"),
        ("invalid", "over 100", DownloadError, "asked of endpoint demo in workspace ws in resou"),
        ("proxy", "proxy:3128", DownloadError, "through the proxy proxy:3128; check HTTPS_PROXY"),
        ("tls", "", DownloadError, "REQUESTS_CA_BUNDLE and SSL_CERT_FILE"),
        ("network", "", DownloadError, "cannot reach Azure; check the network and HTTPS_PROXY"),
        ("network", "host", DownloadError, "cannot reach host; check"),
        ("busy", "503", DownloadError, "Azure answers 503 for workspace ws"),
        ("other", "KeyError: 'x'", DownloadError, "tiny 1 failed on workspace ws"),
    ],
)
def test_error_and_remedy(kind: str, detail: str, error: type[ModelImportError], said: str) -> None:
    """The message names the object and what to do."""
    failure = Failure(kind=kind, detail=detail)
    subject = "endpoint demo" if "endpoint" in said else "model demo:1"

    raised = to_error(failure, sdk="tiny 1", workspace=_WORKSPACE, subject=subject)

    assert type(raised) is error
    assert said in str(raised)
    assert not str(raised).endswith(".")


class ProxyError(OSError):
    """Named as requests and urllib3 name theirs."""


class SSLError(OSError):
    """Likewise."""


class ServiceRequestError(Exception):
    """Named as azure-core names what had no answer."""


def _answered(status: int, host: str = "management.azure.com") -> Exception:
    error: Any = RuntimeError(f"Operation returned an invalid status '{status}'")
    request = SimpleNamespace(url=f"https://{host}/path?sig=PLANTED")
    error.response = SimpleNamespace(status_code=status, request=request)
    return error  # type: ignore[no-any-return]  # it has an attribute more


def _wrapping(inner: Exception) -> Exception:
    outer: Any = RuntimeError("advice that leads astray: run az account list")
    outer.inner_exception = inner
    return outer  # type: ignore[no-any-return]  # likewise


@pytest.mark.parametrize(
    ("error", "kind", "detail"),
    [
        (RuntimeError("AADSTS7000222: The provided keys are expired"), "credentials", "AADSTS70"),
        (RuntimeError("ChainedTokenCredential failed to"), "no-credentials", ""),
        (ProxyError("cannot connect"), "proxy", "proxy:3128"),
        (_wrapping(SSLError("certificate")), "tls", ""),
        (RuntimeError("(SubscriptionNotFound) The subscription"), "subscription", ""),
        (RuntimeError("The subscription 'x' could not be found."), "subscription", ""),
        (_wrapping(_answered(403)), "forbidden", "sign-in 403"),
        (_answered(401), "forbidden", "sign-in 401"),
        (_answered(403, "account.blob.core.windows.net"), "forbidden", "files 403"),
        (_answered(404), "sign-in", ""),
        (_answered(404, "account.blob.core.windows.net"), "files", ""),
        (_answered(429), "busy", "429"),
        (RuntimeError("Response Code: 503\nContent: busy"), "busy", "503"),
        (ServiceRequestError("HTTPSConnectionPool(host='a.b.c', port=443)"), "network", "a.b.c"),
        (KeyError("api"), "other", "KeyError: 'api'"),
        (RuntimeError("first line\nsecond line"), "other", "RuntimeError: first line"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_an_sdk_means(
    error: Exception, kind: str, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever wraps it, the failure below counts; neither a query nor a password goes along."""
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://me:PLANTED@proxy:3128")

    failure = explain(error, "sign-in")

    assert (failure.kind, failure.detail[: len(detail) or None]) == (kind, detail)
    assert "PLANTED" not in failure.detail
