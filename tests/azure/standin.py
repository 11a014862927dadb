"""An Azure ML workspace on loopback, for the genuine SDKs: models, their files, and faults.

It plays the hosts that the SDKs ask for by their production names, behind a proxy that ends TLS.
It shows what clients do and what goes over the wire; roles, throttling and what a real shared
access signature permits are Azure's own.

    python -m tests.azure.standin FILE ...
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.azure import (
    blobs,
    endpoint_routes_v1,
    endpoint_routes_v2,
    entra,
    routes_v1,
    routes_v2,
)
from tests.azure.endpoints import KubernetesEndpoint, ManagedEndpoint
from tests.azure.exchange import Request, Response, Route, find_route
from tests.azure.proxy import TerminatingProxy
from tests.azure.registry import (
    ACCOUNT_KEY,
    CLIENT,
    CLIENT_SECRET,
    ENDPOINT_KEY,
    HOSTS,
    RESOURCE_GROUP,
    SAS_SIGNATURE,
    SUBSCRIPTION,
    TENANT,
    TOKEN_SIGNATURE,
    WORKSPACE,
    Blob,
    Faults,
    ModelVersion,
    Registry,
)
from tests.certificates import write_certificates
from textclf.termination import ending_on_sigterm

_ROUTES: list[Route[Registry]] = [
    *entra.ROUTES,
    *routes_v1.ROUTES,
    *routes_v2.ROUTES,
    *endpoint_routes_v1.ROUTES,
    *endpoint_routes_v2.ROUTES,
    *blobs.ROUTES,
]


class AzureStandIn:
    """A tenant with one subscription, one workspace and one storage account.

    Attributes:
        workspace: Its name.
        resource_group: The workspace's.
        credentials: Content of AZURE_CREDENTIALS, as ``az ad sp create-for-rbac`` prints it.
        secrets: What must never show up in any output: all of them start with ``PLANTED``.
        requests: Method, host and path of all that was asked, in order.
        registry: What the workspace holds.
        authority: The certificate a client has to trust.
    """

    workspace = WORKSPACE
    resource_group = RESOURCE_GROUP
    subscription = SUBSCRIPTION
    secrets = (CLIENT_SECRET, TOKEN_SIGNATURE, SAS_SIGNATURE, ACCOUNT_KEY, ENDPOINT_KEY)

    def __init__(self) -> None:
        self.credentials = {
            "clientId": CLIENT,
            "clientSecret": CLIENT_SECRET,
            "subscriptionId": SUBSCRIPTION,
            "tenantId": TENANT,
        }
        self.requests: list[tuple[str, str, str]] = []
        self.registry = Registry()
        self._folder = tempfile.TemporaryDirectory(prefix="azure-")
        certificates = write_certificates(Path(self._folder.name), *HOSTS)
        self.authority = certificates.authority
        self._proxy = TerminatingProxy(
            self._respond, certificates.server_context(), accepts=_is_played
        )

    def __enter__(self) -> Self:
        """Return the stand-in, which is serving already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    @property
    def faults(self) -> Faults:
        """What goes wrong; set what should."""
        return self.registry.faults

    @property
    def downloading(self) -> threading.Event:
        """Set once a download stopped half-way, under ``faults.hold_downloads``."""
        return self.registry.downloads.reached

    @property
    def proxy_url(self) -> str:
        """Where it listens."""
        return self._proxy.url

    @property
    def environment(self) -> dict[str, str]:
        """Variables that lead a client here."""
        return {
            "HTTPS_PROXY": self.proxy_url,
            "https_proxy": self.proxy_url,
            "NO_PROXY": "",
            "no_proxy": "",
            "REQUESTS_CA_BUNDLE": str(self.authority),
            "SSL_CERT_FILE": str(self.authority),
        }

    def add_model(
        self,
        name: str,
        files: Mapping[str, bytes],
        *,
        tags: Mapping[str, str] | None = None,
        version: int | None = None,
        prefix: bool = True,
    ) -> int:
        """Register a model, as someone else did before.

        Args:
            name: Of the model.
            files: Paths within the model to contents.
            tags: Of this version.
            version: The next one, if None.
            prefix: A folder ``model``; else the one file itself.

        Returns:
            The version.
        """
        with self.registry.lock:
            number = version or self.registry.latest(name) + 1
            folder = f"LocalUpload/{name}-{number}"
            path = f"{folder}/model" if prefix else f"{folder}/{next(iter(files))}"
            for file, content in files.items():
                self.registry.blobs[f"{path}/{file}" if prefix else path] = Blob(content)
            self.registry.add(
                ModelVersion(
                    name=name,
                    version=number,
                    path=path,
                    asset_id=self.registry.add_asset(path, is_prefix=prefix),
                    is_prefix=prefix,
                    tags=tags or {},
                )
            )
        return number

    def add_kubernetes_endpoint(self, name: str, **percentiles: int) -> KubernetesEndpoint:
        """Deploy an endpoint of SDK v1; the first version is its default."""
        endpoint = KubernetesEndpoint(name, dict(percentiles), default=next(iter(percentiles)))
        self.registry.kubernetes_endpoints[name] = endpoint
        return endpoint

    def add_managed_endpoint(self, name: str, **traffic: int) -> ManagedEndpoint:
        """Deploy an endpoint of SDK v2, with a deployment for each name."""
        endpoint = ManagedEndpoint(name, dict(traffic))
        self.registry.managed_endpoints[name] = endpoint
        return endpoint

    def close(self) -> None:
        """Let go of whatever is held, and end every connection and thread.

        Raises:
            ExceptionGroup: The stand-in itself failed; a test that goes on would prove nothing.
        """
        self.registry.downloads.release.set()
        self._proxy.close()
        self._folder.cleanup()
        if self._proxy.errors:
            raise BaseExceptionGroup("the Azure stand-in failed", self._proxy.errors)

    def _respond(self, request: Request) -> Response:
        self.requests.append((request.method, request.host, request.path))
        if request.method == "CONNECT":
            return Response(status=502)
        found = find_route(_ROUTES, request)
        if found is None:
            message = f"the stand-in has no {request.method} {request.host}{request.path}"
            return entra.failure("NotFound", message, 404)
        handler, parts = found
        with self.registry.lock:
            refusal = entra.refusal(self.registry, request, parts)
            return refusal or handler(self.registry, request, parts)


def _is_played(host: str) -> bool:
    return any(host.endswith(known.lstrip("*")) for known in HOSTS)


def client_environment(standin: AzureStandIn, home: Path) -> dict[str, str]:
    """Return variables that lead a client to the stand-in, signed in, with ``home`` for its own."""
    home.mkdir()
    user = Path.home()
    cache = os.environ.get("XDG_CACHE_HOME", user / ".cache")
    data = os.environ.get("XDG_DATA_HOME", user / ".local" / "share")
    kept = {  # where uv has the environments of scripts, and the interpreters they run on
        "UV_CACHE_DIR": Path(cache) / "uv",
        "UV_PYTHON_INSTALL_DIR": Path(data) / "uv" / "python",
        "PYENV_ROOT": user / ".pyenv",
    }
    return {
        **{name: os.environ.get(name, str(folder)) for name, folder in kept.items()},
        **standin.environment,
        "HOME": str(home),
        "AZURE_CONFIG_DIR": str(home / "azure"),
        "AZURE_CREDENTIALS": json.dumps(standin.credentials),
    }


@ending_on_sigterm()
def main() -> int:
    """Serve the files on the command line as ``demo:1``, and an endpoint, until interrupted."""
    with AzureStandIn() as standin:
        files = {Path(name).name: Path(name).read_bytes() for name in sys.argv[1:]}
        standin.add_model("demo", files or {"model.onnx": b"not a graph"})
        standin.add_kubernetes_endpoint("sentiment", blue=100, green=0)
        variables = standin.environment | {"AZURE_CREDENTIALS": json.dumps(standin.credentials)}
        for name, value in variables.items():
            print(f"export {name}='{value}'")  # noqa: T201
        print(f"# --workspace {WORKSPACE} --resource-group {RESOURCE_GROUP}", flush=True)  # noqa: T201
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
