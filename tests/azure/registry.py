"""What a workspace holds, in memory, and what is to go wrong with it."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Literal

from tests.azure.endpoints import KubernetesEndpoint, ManagedEndpoint, Operations
from tests.azure.exchange import Hold

TENANT = "11111111-1111-4111-8111-111111111111"
SUBSCRIPTION = "22222222-2222-4222-8222-222222222222"
CLIENT = "33333333-3333-4333-8333-333333333333"
CLIENT_SECRET = "PLANTED~client~secret~0123456789"  # noqa: S105
TOKEN_SIGNATURE = "PLANTED-access-token-signature-0"  # noqa: S105 - 32 characters of base64url
SAS_SIGNATURE = "PLANTEDsasSIGNATURE0123456789"
ENDPOINT_KEY = "PLANTEDendpointKEY0123456789"
ACCOUNT_KEY = "PLANTEDaccountKEY0123456789+/" + "A" * 57 + "=="  # 64 bytes in base64
RESOURCE_GROUP = "practical-mlops"
WORKSPACE = "ml-ws"
ACCOUNT = "sentimentstore"
CONTAINER = "azureml"
DATASTORE = "workspaceblobstore"
DatastoreCredentials = Literal["AccountKey", "Sas", "None"]
HOSTS = (
    "login.microsoftonline.com",
    "management.azure.com",
    "*.api.azureml.ms",
    "*.blob.core.windows.net",
    "*.eastus.cloudapp.azure.com",
)
HISTORY_API = "https://eastus.api.azureml.ms"
SCORING = "ml-ws.eastus.cloudapp.azure.com"
BLOB_HOST = f"{ACCOUNT}.blob.core.windows.net"


@dataclass(kw_only=True)
class Faults:
    """What goes wrong; a test sets these while the stand-in runs.

    Attributes:
        workspace_missing: The resource group has no workspace.
        subscription_invisible: The client may not see the subscription.
        models_status: Status of every answer about models, such as 403.
        blob_status: Status of every answer about the content of a blob, such as 403.
        upload_status: Status of every answer to an upload, such as 403.
        endpoints_status: Status of every answer about endpoints, such as 403.
        blob_fail_times: So many downloads get 503 first.
        blob_truncate_times: So many downloads lose their connection half-way first.
        blob_change: The last byte of every download is another one.
        hold_downloads: Every download stops half-way; see ``AzureStandIn.downloading``.
        artifact_path: Path of every graph in a folder as the registry tells it, such as
            ``../evil.onnx``.
    """

    workspace_missing: bool = False
    subscription_invisible: bool = False
    models_status: int | None = None
    blob_status: int | None = None
    upload_status: int | None = None
    endpoints_status: int | None = None
    blob_fail_times: int = 0
    blob_truncate_times: int = 0
    blob_change: bool = False
    hold_downloads: bool = False
    artifact_path: str | None = None

    def told(self, path: str, folder: str = "") -> str:
        """Return what the registry calls the file at ``path``."""
        if self.artifact_path and path.endswith(".onnx"):
            return folder + self.artifact_path
        return path


@dataclass
class Blob:
    """Bytes with what Azure says of them."""

    content: bytes
    metadata: dict[str, str] = field(default_factory=dict)
    modified: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def headers(self) -> dict[str, str]:
        """Header fields that come with the blob."""
        return {
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
            "ETag": f'"0x{hashlib.sha256(self.content).hexdigest()[:15].upper()}"',
            "Last-Modified": self.last_modified,
            "x-ms-blob-type": "BlockBlob",
            "x-ms-creation-time": self.last_modified,
            "x-ms-lease-state": "available",
            "x-ms-lease-status": "unlocked",
            "x-ms-server-encrypted": "true",
            "x-ms-version": "2023-11-03",
            **{f"x-ms-meta-{name}": value for name, value in self.metadata.items()},
        }

    @property
    def last_modified(self) -> str:
        """When it was written, as HTTP says it."""
        return format_datetime(self.modified, usegmt=True)

    @property
    def md5(self) -> str:
        """The value of Content-MD5."""
        return base64.b64encode(hashlib.md5(self.content, usedforsecurity=False).digest()).decode()


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """A registered version.

    Attributes:
        path: Of the folder, or of the one file, in the container.
        asset_id: What SDK v1 calls the files.
        is_prefix: SDK v1 is told of a folder to list, rather than of one file.
    """

    name: str
    version: int
    path: str
    asset_id: str
    is_prefix: bool = True
    description: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    created_by: str = "textclf tests"
    created_time: str = field(default_factory=lambda: datetime.now(UTC).isoformat())


class Registry:
    """One workspace with its storage account; both SDKs see the same models.

    Attributes:
        lock: Held while a request reads or changes what is here.
        client_secret: The only one that is let in.
        datastore_credentials: What the datastore keeps: AccountKey, which is Azure's default, Sas,
            or None, where clients bring their own token.
        expirable_secrets: A client that asks for a secret that expires gets a signature instead of
            the account's key.
        blobs: Path in the container to content.
        blocks: Path and block id to content that is not committed yet.
        assets: Asset id to what SDK v1 stored under it: a path and whether it is a prefix.
        kubernetes_endpoints: Those that SDK v1 knows, by name.
        managed_endpoints: Those that SDK v2 knows, by name.
        operations: The updates of both.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.faults = Faults()
        self.client_secret = CLIENT_SECRET
        self.datastore_credentials: DatastoreCredentials = "AccountKey"
        self.expirable_secrets = True
        self.blobs: dict[str, Blob] = {}
        self.blocks: dict[tuple[str, str], bytes] = {}
        self.assets: dict[str, tuple[str, bool]] = {}
        self.models: dict[str, dict[int, ModelVersion]] = {}
        self.kubernetes_endpoints: dict[str, KubernetesEndpoint] = {}
        self.managed_endpoints: dict[str, ManagedEndpoint] = {}
        self.operations = Operations()
        self.downloads = Hold(reached=threading.Event(), release=threading.Event())

    def latest(self, name: str) -> int:
        """Return the newest version of a model; 0 when there is none."""
        return max(self.models.get(name, {}), default=0)

    def find(self, name: str, version: str) -> ModelVersion | None:
        """Return a registered version."""
        return self.models.get(name, {}).get(int(version)) if version.isdecimal() else None

    def add_asset(self, path: str, *, is_prefix: bool) -> str:
        """Give files an asset id."""
        asset_id = f"asset-{len(self.assets) + 1}"
        self.assets[asset_id] = (path, is_prefix)
        return asset_id

    def add(self, model: ModelVersion) -> None:
        """Register a version."""
        self.models.setdefault(model.name, {})[model.version] = model

    def paths_below(self, path: str) -> list[str]:
        """Return the blobs of a folder, or the one blob at ``path``."""
        return sorted(p for p in self.blobs if p == path or p.startswith(f"{path}/"))


def sas(permissions: str) -> str:
    """Return a shared access signature that is good for ``permissions``."""
    expiry = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H%%3A%M%%3A%SZ")
    return f"sv=2023-11-03&sr=c&se={expiry}&sp={permissions}&sig={SAS_SIGNATURE}"


def blob_url(path: str, permissions: str) -> str:
    """Return where a blob is, with the signature that opens it."""
    return f"https://{BLOB_HOST}/{CONTAINER}/{path}?{sas(permissions)}"
