# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "asgiref==3.13.0",
#   "attrs==26.1.0",
#   "azure-ai-ml==1.35.2",
#   "azure-core==1.41.0",
#   "azure-core-tracing-opentelemetry==1.0.0b13",
#   "azure-identity==1.27.0",
#   "azure-mgmt-core==1.6.0",
#   "azure-monitor-opentelemetry==1.8.11",
#   "azure-monitor-opentelemetry-exporter==1.0.0b58",
#   "azure-storage-blob==12.31.1",
#   "azure-storage-file-datalake==12.26.1",
#   "azure-storage-file-share==12.27.1",
#   "certifi==2026.10.18",
#   "cffi==2.1.1 ; platform_python_implementation != 'PyPy'",
#   "charset-normalizer==3.5.2",
#   "colorama==0.4.6",
#   "cryptography==50.0.2",
#   "idna==3.20",
#   "isodate==0.7.2",
#   "jsonschema==4.26.0",
#   "jsonschema-specifications==2025.9.1",
#   "marshmallow==3.26.2",
#   "msal==1.39.0",
#   "msal-extensions==1.3.1",
#   "msrest==0.7.1",
#   "oauthlib==4.0.1",
#   "opentelemetry-api==1.45.1",
#   "opentelemetry-instrumentation==0.66b1",
#   "opentelemetry-instrumentation-asgi==0.66b1",
#   "opentelemetry-instrumentation-dbapi==0.66b1",
#   "opentelemetry-instrumentation-django==0.66b1",
#   "opentelemetry-instrumentation-fastapi==0.66b1",
#   "opentelemetry-instrumentation-flask==0.66b1",
#   "opentelemetry-instrumentation-httpx==0.66b1",
#   "opentelemetry-instrumentation-logging==0.66b1",
#   "opentelemetry-instrumentation-psycopg2==0.66b1",
#   "opentelemetry-instrumentation-requests==0.66b1",
#   "opentelemetry-instrumentation-urllib==0.66b1",
#   "opentelemetry-instrumentation-urllib3==0.66b1",
#   "opentelemetry-instrumentation-wsgi==0.66b1",
#   "opentelemetry-resource-detector-azure==0.3.0",
#   "opentelemetry-sdk==1.45.1",
#   "opentelemetry-semantic-conventions==0.66b1",
#   "opentelemetry-util-http==0.66b1",
#   "packaging==26.3",
#   "psutil==7.2.2",
#   "pycparser==3.12 ; implementation_name != 'PyPy' and platform_python_implementation != 'PyPy'",
#   "pydash==8.1.0",
#   "pyjwt==2.15.1",
#   "python-dateutil==4.0.0",
#   "pyyaml==6.0.3",
#   "referencing==0.37.0",
#   "requests==2.34.2",
#   "requests-oauthlib==2.0.0",
#   "rpds-py==2026.9.1",
#   "strictyaml==1.7.3",
#   "tqdm==4.70.1",
#   "typing-extensions==4.16.0",
#   "tzdata==2026.6",
#   "urllib3==2.8.0",
#   "wrapt==2.5.2",
# ]
# ///
"""Ask a workspace for its models and endpoints through azure-ai-ml, which is SDK v2.

Of models only the control plane: the importer downloads the files itself. The SDK's own download
checks nothing and holds each file in memory.
"""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

# The importer runs this isolated, in an environment that has the SDK but not textclf.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from azure.ai.ml import MLClient
from azure.ai.ml.constants import AssetTypes
from azure.ai.ml.entities import Model
from azure.ai.ml.exceptions import ValidationErrorType, ValidationException
from azure.core.credentials import TokenCredential
from azure.core.exceptions import ResourceNotFoundError
from azure.identity import (
    AzureCliCredential,
    ChainedTokenCredential,
    ClientSecretCredential,
    ManagedIdentityCredential,
)
from azure.storage.blob import (
    ContainerClient,
    ContainerSasPermissions,
    generate_container_sas,
)

from textclf.azureml import v2_endpoints
from textclf.azureml.worker import (
    Failure,
    Request,
    default_subscription,
    in_utc,
    looking_for,
    model_uri,
    serve,
)

_SDK = "azure-ai-ml 1.35.2"
_ARM = "https://management.azure.com/.default"
_STORAGE = "https://storage.azure.com/.default"
_STORAGE_VERSION = "2023-11-03"  # tokens are taken from 2017-11-09 on
_PLACE = re.compile(r"/datastores/(?P<store>[^/]+)/paths/(?P<path>.+)")
_SAS_LASTS = timedelta(hours=2)


def fetch(request: Request) -> dict[str, Any]:
    """Return a model and where each of its files can be downloaded."""
    client, credential = _open_workspace(request)
    model = _find(client, request)
    if model is None:
        raise Failure("model")
    with looking_for("files"):
        files = _files(client, credential, model.path)
    return _describe(model, client, request) | {"files": files}


def latest(request: Request) -> dict[str, Any] | None:
    """Return the newest version of a model, or None if there is none of that name."""
    client, _ = _open_workspace(request)
    model = _find(client, dict(request) | {"version": None})
    return None if model is None else _describe(model, client, request)


def register(request: Request) -> dict[str, Any]:
    """Upload a folder as a new version of a model."""
    client, _ = _open_workspace(request)
    with looking_for("workspace"):
        model = client.models.create_or_update(
            Model(
                name=request["name"],
                path=request["folder"],
                type=AssetTypes.CUSTOM_MODEL,
                tags=request["tags"],
                properties=request["properties"],
                description=request["description"],
            )
        )
    return _describe(model, client, request)


def read_endpoint(request: Request) -> dict[str, Any]:
    """Return an endpoint and its deployments."""
    client, _ = _open_workspace(request)
    return v2_endpoints.read(client, request["name"])


def update_endpoint(request: Request) -> dict[str, Any]:
    """Share out the traffic of an endpoint."""
    client, _ = _open_workspace(request)
    return v2_endpoints.update(
        client, request["name"], request["traffic"], request["mirror_traffic"]
    )


def _open_workspace(request: Request) -> tuple[MLClient, TokenCredential]:
    credential = _authenticate(request["credentials"])
    with looking_for("sign-in"):
        credential.get_token(_ARM)
    subscription_id = request["subscription_id"] or default_subscription()
    with looking_for("workspace"):
        client = MLClient(
            credential,
            subscription_id,
            request["resource_group"],
            request["workspace"],
            show_progress=True,  # without it a refused upload waits for ever; it goes to stderr
            enable_telemetry=False,
            retry_total=3,
        )
        client.workspaces.get(request["workspace"])
    return client, credential


def _authenticate(credentials: dict[str, str] | None) -> TokenCredential:
    if credentials is None:
        return ChainedTokenCredential(AzureCliCredential(), ManagedIdentityCredential())
    return ClientSecretCredential(
        credentials["tenant_id"], credentials["client_id"], credentials["client_secret"]
    )


def _find(client: MLClient, request: Request) -> Model | None:
    version = request["version"]
    with looking_for("model"):
        try:
            if version is None:
                return client.models.get(request["name"], label="latest")
            return client.models.get(request["name"], version=version)
        except ResourceNotFoundError:
            return None
        except ValidationException as exc:  # which is what there being no latest one is
            if exc.error_type == ValidationErrorType.RESOURCE_NOT_FOUND:
                return None
            raise


def _files(client: MLClient, credential: TokenCredential, uri: str) -> list[dict[str, Any]]:
    """Return URL, and headers where there is no SAS, of each file below a datastore's path."""
    found = _PLACE.search(uri)
    if found is None:
        raise Failure("other", "the model's files are in no datastore of the workspace")
    store = client.datastores.get(found["store"], include_secrets=True)
    container_name = getattr(store, "container_name", None) or getattr(store, "filesystem", None)
    if container_name is None:
        raise Failure("other", f"the model's files are in {store.name}, which keeps no blobs")
    url = f"{store.protocol}://{store.account_name}.blob.{store.endpoint}/{container_name}"
    sas, headers = _storage_access(store, container_name, credential)
    container = ContainerClient.from_container_url(
        f"{url}?{sas}", credential=None if sas else credential, retry_total=3
    )
    prefix = found["path"].rstrip("/")
    blobs = [
        blob.name
        for blob in container.list_blobs(name_starts_with=prefix, include=["metadata"])
        if blob.name == prefix or blob.name.startswith(prefix + "/")
        if not (blob.metadata or {}).get("hdi_isfolder")  # a folder of Data Lake Storage
    ]
    base = prefix.rpartition("/")[0]
    return [
        {
            "path": name[len(base) :].lstrip("/"),
            "url": f"{url}/{quote(name)}" + (f"?{sas}" if sas else ""),
            "headers": headers,
        }
        for name in blobs
    ]


def _storage_access(
    store: Any, container_name: str, credential: TokenCredential
) -> tuple[str, dict[str, str]]:
    """Return a SAS, made from the account's key if need be, or else headers for a token."""
    if sas := getattr(store.credentials, "sas_token", None):
        return sas.lstrip("?"), {}
    if key := getattr(store.credentials, "account_key", None):
        sas = generate_container_sas(
            store.account_name,
            container_name,
            account_key=key,
            permission=ContainerSasPermissions(read=True, list=True),
            expiry=datetime.now(UTC) + _SAS_LASTS,
        )
        return sas, {}
    token = credential.get_token(_STORAGE).token
    return "", {"Authorization": f"Bearer {token}", "x-ms-version": _STORAGE_VERSION}


def _describe(model: Model, client: MLClient, request: Request) -> dict[str, Any]:
    created = model.creation_context
    version = str(model.version)
    return {
        "name": model.name,
        "version": version,
        "tags": model.tags or {},
        "properties": model.properties or {},
        "created_by": created.created_by if created else None,
        "created_at": in_utc(created.created_at) if created else None,
        "uri": model_uri(request, client.subscription_id, version),
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
