"""Models that are registered in a workspace of Azure ML, through either SDK.

The SDK only says where the files are. They are downloaded here, since its own download checks
neither paths nor content, and can wait for minutes where a refusal is plain.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from textclf.artifact import DESCRIPTION, GRAPH
from textclf.azureml.arguments import (
    NAME,
    add_workspace_arguments,
    matching,
    read_workspace,
)
from textclf.azureml.client import SdkClient
from textclf.azureml.credentials import AzureCredentials, parse_credentials
from textclf.azureml.environment import V1, V2, Sdk
from textclf.azureml.failures import Workspace
from textclf.errors import AccessError, ModelImportError
from textclf.settings import read_azure_credentials
from textclf.sources.contents import check_sha256, find_model
from textclf.sources.download import RemoteFile, download
from textclf.sources.limits import Limits
from textclf.sources.source import FetchedModel, model_name
from textclf.termination import ending_on_sigterm
from textclf.tokenizer_conversion import has_tokenizer
from textclf.version_tags import HASH_TAGS

_LEAST_SECONDS = 1.0

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _AzureSource:
    """A registered model.

    Attributes:
        name: Of the model.
        version: None for the newest.
        workspace: Where it is registered.
        credentials: Of a service principal; None for az login or a managed identity.
        model_path: Of the graph or the classifier folder in the model, if it does not go without.
        limits: On SDK and download together.
    """

    kind: ClassVar[str]
    sdk: ClassVar[Sdk]
    version_pattern: ClassVar[str]

    name: str
    version: str | None
    workspace: Workspace
    credentials: AzureCredentials | None
    model_path: str | None
    limits: Limits

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> Self:
        """Build the source that the command line and ``AZURE_CREDENTIALS`` ask for.

        Raises:
            AccessError: The credentials cannot be read, or name no subscription.
            ModelImportError: It is not plain which version is meant.
        """
        name, _, version = arguments.model.partition(":")
        if bool(version) == arguments.latest:
            raise ModelImportError(
                f"which version of {name} is meant? give either {name}:VERSION, or --latest and "
                f"{name} alone"
            )
        credentials = parse_credentials(read_azure_credentials())
        return cls(
            name=name,
            version=version or None,
            workspace=read_workspace(arguments, credentials),
            credentials=credentials,
            model_path=arguments.model_path,
            limits=Limits.from_arguments(arguments),
        )

    def fetch(self, target: Path) -> FetchedModel:
        """Download a registered model and check it against what the registry says of it.

        Raises:
            AccessError: The identity is not let in, or not that far.
            SourceNotFoundError: There is no such workspace, model, version, or file in it.
            DownloadError: Azure cannot be reached, or sends too much or too slowly.
            UntrustedContentError: The files could do harm, or are not the registered ones.
        """
        with ending_on_sigterm():
            client = SdkClient(
                self.sdk,
                self.workspace,
                self.credentials,
                timeout_seconds=self.limits.timeout_seconds,
            )
            model = client.fetch(self.name, self.version)
            if self.version is None:
                _LOGGER.info("the latest version of %s is %s", self.name, model["version"])
            self._download(model, target, client.remaining_seconds)
        path = find_model(target, self.model_path)
        _check_content(path, model)
        return FetchedModel(
            path=path,
            tokenizer=path.parent if path.is_file() and has_tokenizer(path.parent) else None,
            source=self.kind,
            uri=model["uri"],
            name=model_name(model["name"]) or "model",
            version=model["version"],
            sdk=model["sdk"],
            registered_by=model["created_by"],
            registered_at=model["created_at"],
            workspace=str(self.workspace),
        )

    def _download(self, model: Mapping[str, Any], target: Path, remaining_seconds: float) -> None:
        files = [RemoteFile(**file) for file in model["files"]]
        _LOGGER.info("downloading %d files of %s", len(files), model["uri"])
        limits = Limits(
            max_bytes=self.limits.max_bytes,
            timeout_seconds=max(_LEAST_SECONDS, remaining_seconds // 1),
        )
        try:
            download(files, target, limits)
        except AccessError as exc:
            raise AccessError(
                f"the storage account of workspace {self.workspace} refuses the files of model "
                f"{model['name']}:{model['version']}; give this identity the role Storage Blob "
                "Data Reader there, and see that the key or SAS of the datastore is in force"
            ) from exc

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Ask for the model and where it is registered."""
        parser.add_argument(
            "model",
            type=matching(rf"{NAME}(:{cls.version_pattern})?", "NAME:VERSION"),
            metavar="NAME:VERSION",
            help="registered model; NAME alone with --latest",
        )
        parser.add_argument("--latest", action="store_true", help="take the newest version")
        add_workspace_arguments(parser)
        parser.add_argument(
            "--model-path",
            metavar="PATH",
            help="graph or classifier folder in the model (default: the only one there is)",
        )
        Limits.add_arguments(parser)


@dataclass(frozen=True, kw_only=True)
class AzureMLSource(_AzureSource):
    """A model that azureml-core, which is SDK v1, fetches."""

    summary: ClassVar[str] = "a model registered in Azure ML, through SDK v1"
    kind: ClassVar[str] = "azureml"
    sdk: ClassVar[Sdk] = V1
    version_pattern: ClassVar[str] = r"[1-9]\d*"


@dataclass(frozen=True, kw_only=True)
class AzureMLV2Source(_AzureSource):
    """A model that azure-ai-ml, which is SDK v2, fetches."""

    summary: ClassVar[str] = "a model registered in Azure ML, through SDK v2"
    kind: ClassVar[str] = "azureml-v2"
    sdk: ClassVar[Sdk] = V2
    version_pattern: ClassVar[str] = NAME


def _check_content(path: Path, model: Mapping[str, Any]) -> None:
    """Compare what was downloaded with the hashes in the model's tags and properties."""
    graph = path if path.is_file() else path / GRAPH
    files = {HASH_TAGS[GRAPH]: graph, HASH_TAGS[DESCRIPTION]: path / DESCRIPTION}
    for what, said in {"tag": model["tags"], "property": model["properties"]}.items():
        for name in files.keys() & said.keys():
            if files[name].is_file():
                said_by = f"the {what} {name} of {model['name']}:{model['version']}"
                check_sha256(files[name], said[name], said_by=said_by)
