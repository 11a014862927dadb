"""What SDK v1 (azureml-core) asks of a workspace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.azure.entra import MANAGEMENT, SCOPE, failure
from tests.azure.exchange import Request, Response, Route, answer_json
from tests.azure.registry import HISTORY_API, ModelVersion, Registry, blob_url

_SERVICES = ("api", "history", "modelmanagement", "experimentation", "hyperdrive", "studio")
_WORKSPACE_ID = "44444444-4444-4444-8444-444444444444"


def _discover(_: Registry, __: Request, ___: Mapping[str, str]) -> Response:
    return answer_json(dict.fromkeys(_SERVICES, HISTORY_API))


def workspace(parts: Mapping[str, str]) -> dict[str, Any]:
    """Return what Azure Resource Manager says of a workspace."""
    scope = (
        f"/subscriptions/{parts['subscription']}/resourceGroups/{parts['group']}"
        f"/providers/Microsoft.MachineLearningServices/workspaces/{parts['workspace']}"
    )
    return {
        "id": scope,
        "name": parts["workspace"],
        "type": "Microsoft.MachineLearningServices/workspaces",
        "location": "eastus",
        "properties": {
            "friendlyName": parts["workspace"],
            "workspaceId": _WORKSPACE_ID,
            "discoveryUrl": f"{HISTORY_API}/discovery/workspaces/{_WORKSPACE_ID}",
            "mlFlowTrackingUri": f"azureml://eastus.api.azureml.ms/mlflow/v1.0{scope}",
            "provisioningState": "Succeeded",
        },
    }


def _workspace(_: Registry, __: Request, parts: Mapping[str, str]) -> Response:
    return answer_json(workspace(parts))


def _model(model: ModelVersion) -> dict[str, Any]:
    return {
        "id": f"{model.name}:{model.version}",
        "name": model.name,
        "version": model.version,
        "description": model.description,
        "framework": "Custom",
        "mimeType": "application/json",
        "url": f"aml://asset/{model.asset_id}",
        "unpack": False,
        "kvTags": model.tags,
        "properties": model.properties,
        "createdTime": model.created_time,
        "createdBy": {"userName": model.created_by},
        "datasets": [],
    }


def _get_model(registry: Registry, _: Request, parts: Mapping[str, str]) -> Response:
    name, _colon, version = parts["id"].partition(":")
    model = registry.find(name, version)
    if model is None:
        message = f"The model with name {name} and version {version} was not found."
        return failure("ModelNotFound", message, 404)
    return answer_json(_model(model))


def _list_models(registry: Registry, request: Request, _: Mapping[str, str]) -> Response:
    versions = registry.models.get(request.query.get("name", ""), {})
    newest_first = [_model(versions[version]) for version in sorted(versions, reverse=True)]
    return answer_json({"value": newest_first[: int(request.query.get("count", 100))]})


def _get_asset(registry: Registry, _: Request, parts: Mapping[str, str]) -> Response:
    if parts["id"] not in registry.assets:
        return failure("AssetNotFound", f"There is no asset {parts['id']}.", 404)
    path, is_prefix = registry.assets[parts["id"]]
    artifact = {"prefix" if is_prefix else "id": path}
    return answer_json({"id": parts["id"], "name": "model", "artifacts": [artifact]})


def _list_content(registry: Registry, _: Request, parts: Mapping[str, str]) -> Response:
    paths = registry.paths_below(parts["path"].rstrip("/"))
    value = []
    for path in paths:
        origin, container, name = path.split("/", 2)
        told = registry.faults.told(name)
        place = {"origin": origin, "container": container, "path": told}
        value.append(place | {"contentUri": blob_url(path, "r")})
    return answer_json({"value": value})


def _get_content(registry: Registry, _: Request, parts: Mapping[str, str]) -> Response:
    path = parts["path"]
    if path not in registry.blobs:
        return failure("ArtifactNotFound", f"There is no artifact {path}.", 404)
    return answer_json({"path": parts["path"], "contentUri": blob_url(path, "r")})


def _create_artifacts(_: Registry, request: Request, parts: Mapping[str, str]) -> Response:
    origin, container = parts["folder"].split("/")
    paths = [item["path"] for item in request.json()["paths"]]
    place = {"origin": origin, "container": container}
    return answer_json(
        {
            "artifacts": {
                path: {"artifactId": f"{origin}/{container}/{path}", "path": path, **place}
                for path in paths
            },
            "artifactContentInformation": {
                path: {
                    "path": path,
                    "contentUri": blob_url(f"{origin}/{container}/{path}", "rcw"),
                    **place,
                }
                for path in paths
            },
            "errors": {},
        }
    )


def _create_asset(registry: Registry, request: Request, _: Mapping[str, str]) -> Response:
    asset = request.json()
    artifact = asset["artifacts"][0]
    is_prefix = bool(artifact.get("prefix"))
    asset["id"] = registry.add_asset(
        artifact["prefix"] if is_prefix else artifact["id"], is_prefix=is_prefix
    )
    return answer_json(asset)


def _create_model(registry: Registry, request: Request, _: Mapping[str, str]) -> Response:
    asked = request.json()
    asset_id = asked["url"].removeprefix("aml://asset/")
    path, is_prefix = registry.assets[asset_id]
    model = ModelVersion(
        name=asked["name"],
        version=registry.latest(asked["name"]) + 1,
        path=path,
        asset_id=asset_id,
        is_prefix=is_prefix,
        description=asked.get("description"),
        tags=asked.get("kvTags") or {},
        properties=asked.get("properties") or {},
    )
    registry.add(model)
    return answer_json(_model(model))


_API = "eastus.api.azureml.ms"
_MODELS = rf"/modelmanagement/v1\.0{SCOPE}"
_ARTIFACTS = rf"/artifact/v2\.0{SCOPE}/artifacts"
ROUTES: list[Route[Registry]] = [
    ("GET", MANAGEMENT, SCOPE, _workspace),
    ("GET", _API, r"/discovery/workspaces/[^/]+", _discover),
    ("GET", _API, rf"{_MODELS}/models", _list_models),
    ("POST", _API, rf"{_MODELS}/models", _create_model),
    ("GET", _API, rf"{_MODELS}/models/(?P<id>[^/]+)", _get_model),
    ("POST", _API, rf"{_MODELS}/assets", _create_asset),
    ("GET", _API, rf"{_MODELS}/assets/(?P<id>[^/]+)", _get_asset),
    ("GET", _API, rf"{_ARTIFACTS}/prefix/contentinfo/(?P<path>.+)", _list_content),
    ("GET", _API, rf"{_ARTIFACTS}/contentinfo/(?P<path>.+)", _get_content),
    ("POST", _API, rf"{_ARTIFACTS}/batch/metadata/(?P<folder>[^/]+/[^/]+)", _create_artifacts),
]
