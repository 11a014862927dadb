# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "adal==1.2.7",
#   "argcomplete==3.7.2",
#   "azure-common==1.1.28",
#   "azure-core==1.41.0",
#   "azure-graphrbac==0.61.2",
#   "azure-identity==1.27.0",
#   "azure-mgmt-authorization==4.0.0",
#   "azure-mgmt-containerregistry==14.0.0",
#   "azure-mgmt-core==1.6.0",
#   "azure-mgmt-keyvault==11.0.0",
#   "azure-mgmt-network==30.0.0",
#   "azure-mgmt-resource==24.0.0",
#   "azure-mgmt-storage==24.0.0",
#   "azureml-core==1.61.0.post4",
#   "backports-tempfile==1.0",
#   "backports-weakref==1.0.post1",
#   "bcrypt==5.0.0",
#   "certifi==2026.10.18",
#   "cffi==2.1.1 ; platform_python_implementation != 'PyPy'",
#   "charset-normalizer==3.5.2",
#   "contextlib2==21.6.0",
#   "cryptography==46.0.7",
#   "docker==7.2.0",
#   "humanfriendly==10.0",
#   "idna==3.20",
#   "isodate==0.7.2",
#   "jeepney==0.9.0",
#   "jmespath==1.1.0",
#   "jsonpickle==4.1.4",
#   "knack==0.12.0",
#   "msal==1.39.0",
#   "msal-extensions==1.3.1",
#   "msrest==0.7.1",
#   "msrestazure==0.6.4.post1",
#   "ndg-httpsclient==0.5.1",
#   "oauthlib==4.0.1",
#   "packaging==25.0",
#   "paramiko==3.5.1",
#   "pathspec==0.12.1",
#   "pkginfo==2.0",
#   "pyasn1==0.6.5",
#   "pycparser==3.12 ; implementation_name != 'PyPy' and platform_python_implementation != 'PyPy'",
#   "pygments==2.21.0",
#   "pyjwt==2.15.1",
#   "pynacl==1.6.2",
#   "pyopenssl==26.0.0",
#   "pyreadline3==3.5.6 ; sys_platform == 'win32'",
#   "pysocks==1.7.1",
#   "python-dateutil==2.9.0.post0",
#   "pytz==2026.6",
#   "pywin32==312 ; sys_platform == 'win32'",
#   "pyyaml==6.0.3",
#   "requests==2.34.2",
#   "requests-oauthlib==2.0.0",
#   "secretstorage==3.5.0",
#   "setuptools==80.10.2",
#   "six==1.17.0",
#   "tabulate==0.10.0",
#   "typing-extensions==4.16.0",
#   "urllib3==2.8.0",
# ]
# ///
"""Ask a workspace for its models and endpoints through azureml-core, which is SDK v1.

Of models only the control plane: the importer downloads the files itself. The SDK's own download
would write outside the target for a path with ``..``, checks nothing, and sleeps for 280 seconds
when storage answers 403.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

# The importer runs this isolated, in an environment that has the SDK but not textclf.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from azure.identity import (
    AzureCliCredential,
    ChainedTokenCredential,
    ManagedIdentityCredential,
)
from azureml._restclient import clientbase
from azureml.core import Model, Workspace
from azureml.core.authentication import (
    AbstractAuthentication,
    ServicePrincipalAuthentication,
    TokenAuthentication,
)
from azureml.exceptions import WebserviceException

from textclf.azureml import v1_endpoints
from textclf.azureml.worker import (
    Failure,
    Request,
    default_subscription,
    in_utc,
    looking_for,
    model_uri,
    serve,
)

_SDK = "azureml-core 1.61.0.post4"

# The SDK waits 32, 64 and 128 seconds between its attempts unless it is told otherwise.
clientbase.DEFAULT_BACKOFF = clientbase.DEFAULT_503_BACKOFF = clientbase.DEFAULT_500_BACKOFF = 1


def fetch(request: Request) -> dict[str, Any]:
    """Return a model and where each of its files can be downloaded."""
    workspace = _open_workspace(request)
    model = _find(workspace, request)
    if model is None:
        raise Failure("model")
    # Private, but frozen with the SDK; the public download gives no URLs away.
    with looking_for("files"):
        urls = model._get_sas_to_relative_download_path_map(model._get_asset())  # noqa: SLF001
    files = [{"path": path, "url": url, "headers": {}} for url, path in urls.items()]
    return _describe(model, workspace, request) | {"files": files}


def latest(request: Request) -> dict[str, Any] | None:
    """Return the newest version of a model, or None if there is none of that name."""
    workspace = _open_workspace(request)
    model = _find(workspace, dict(request) | {"version": None})
    return None if model is None else _describe(model, workspace, request)


def register(request: Request) -> dict[str, Any]:
    """Upload a folder as a new version of a model."""
    workspace = _open_workspace(request)
    folder = Path(request["folder"]).resolve()
    os.chdir(folder.parent)  # the SDK refuses a path outside the working directory
    with looking_for("workspace"):
        model = Model.register(
            workspace,
            model_path=folder.name,
            model_name=request["name"],
            tags=request["tags"],
            properties=request["properties"],
            description=request["description"],
        )
    return _describe(model, workspace, request)


def read_endpoint(request: Request) -> dict[str, Any]:
    """Return an endpoint and its versions."""
    return v1_endpoints.read(_open_workspace(request), request["name"])


def update_endpoint(request: Request) -> dict[str, Any]:
    """Update versions of an endpoint, one after the other."""
    return v1_endpoints.update(_open_workspace(request), request["name"], request["updates"])


def _open_workspace(request: Request) -> Any:
    auth = _authenticate(request["credentials"])
    with looking_for("sign-in"):
        auth.get_authentication_header()
    subscription_id = request["subscription_id"] or default_subscription()
    with looking_for("workspace"):
        workspace = Workspace(
            subscription_id, request["resource_group"], request["workspace"], auth=auth
        )
        found = workspace._workspace_autorest_object  # noqa: SLF001
    if found is None:  # the SDK swallows a connection that fails there
        raise Failure("network", "management.azure.com")
    return workspace


def _authenticate(credentials: dict[str, str] | None) -> AbstractAuthentication:
    if credentials is not None:
        return ServicePrincipalAuthentication(
            credentials["tenant_id"], credentials["client_id"], credentials["client_secret"]
        )
    # AzureCliAuthentication wants all of azure-cli in this very environment.
    chain = ChainedTokenCredential(AzureCliCredential(), ManagedIdentityCredential())
    return TokenAuthentication(lambda audience: chain.get_token(f"{audience}/.default").token)


def _find(workspace: Any, request: Request) -> Any | None:
    with looking_for("model"):
        try:
            return Model(workspace, request["name"], version=request["version"], expand=False)
        except WebserviceException as exc:
            if "ModelNotFound" in exc.message:
                return None
            raise


def _describe(model: Any, workspace: Any, request: Request) -> dict[str, Any]:
    creator = model.created_by or {}
    version = str(model.version)
    return {
        "name": model.name,
        "version": version,
        "tags": model.tags or {},
        "properties": model.properties or {},
        "created_by": creator.get("userName") or creator.get("userPrincipalName"),
        "created_at": in_utc(model.created_time),
        "uri": model_uri(request, workspace.subscription_id, version),
        "sdk": _SDK,
    }


if __name__ == "__main__":
    serve(
        {
            "fetch": fetch,
            "latest": latest,
            "register": register,
            "read_endpoint": read_endpoint,
            "update_endpoint": update_endpoint,
        }
    )
