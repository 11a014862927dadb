"""What SDK v2 (azure-ai-ml) asks of a workspace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.azure.entra import MANAGEMENT, SCOPE, failure
from tests.azure.exchange import Request, Response, Route, answer_json
from tests.azure.registry import (
    ACCOUNT,
    ACCOUNT_KEY,
    CONTAINER,
    DATASTORE,
    ModelVersion,
    Registry,
    sas,
)
from tests.azure.routes_v1 import workspace


def _system_data(model: ModelVersion) -> dict[str, str]:
    return {
        "createdAt": model.created_time,
        "createdBy": model.created_by,
        "createdByType": "Application",
        "lastModifiedAt": model.created_time,
    }


def _version(model: ModelVersion, parts: Mapping[str, str]) -> dict[str, Any]:
    scope = workspace(parts)["id"]
    short = scope.replace("/providers/Microsoft.MachineLearningServices", "").lstrip("/")
    uri = f"azureml://{short}/datastores/{DATASTORE}/paths/{model.path}"
    return {
        "id": f"{scope}/models/{model.name}/versions/{model.version}",
        "name": str(model.version),
        "type": "Microsoft.MachineLearningServices/workspaces/models/versions",
        "properties": {
            "description": model.description,
            "tags": model.tags,
            "properties": model.properties,
            "isArchived": False,
            "isAnonymous": False,
            "modelType": "custom_model",
            "modelUri": uri,
            "flavors": {},
            "provisioningState": "Succeeded",
        },
        "systemData": _system_data(model),
    }


def _get_version(registry: Registry, _: Request, parts: Mapping[str, str]) -> Response:
    model = registry.find(parts["name"], parts["version"])
    if model is None:
        message = f"Model {parts['name']} with version {parts['version']} was not found."
        return failure("UserError", message, 404)
    return answer_json(_version(model, parts))


def _list_versions(registry: Registry, request: Request, parts: Mapping[str, str]) -> Response:
    versions = registry.models.get(parts["name"], {})
    newest_first = [_version(versions[v], parts) for v in sorted(versions, reverse=True)]
    return answer_json({"value": newest_first[: int(request.query.get("$top", 100))]})


def _get_container(registry: Registry, _: Request, parts: Mapping[str, str]) -> Response:
    name = parts["name"]
    latest = registry.latest(name)
    if not latest:
        return failure("UserError", f"Model container with name: {name} not found.", 404)
    return answer_json(
        {
            "id": f"{workspace(parts)['id']}/models/{name}",
            "name": name,
            "type": "Microsoft.MachineLearningServices/workspaces/models",
            "properties": {
                "tags": {},
                "properties": {},
                "isArchived": False,
                "latestVersion": str(latest),
                "nextVersion": str(latest + 1),
            },
            "systemData": _system_data(registry.models[name][latest]),
        }
    )


def _put_version(registry: Registry, request: Request, parts: Mapping[str, str]) -> Response:
    asked = request.json()["properties"]
    path = asked["modelUri"].partition("/paths/")[2].rstrip("/")
    known = registry.find(parts["name"], parts["version"])
    if known and known.path != path:
        message = "The path of a registered model cannot be changed."
        return failure("UserError", message, 400)
    model = ModelVersion(
        name=parts["name"],
        version=int(parts["version"]),
        path=path,
        asset_id=registry.add_asset(path, is_prefix=path not in registry.blobs),
        is_prefix=path not in registry.blobs,
        description=asked.get("description"),
        tags=asked.get("tags") or {},
        properties=asked.get("properties") or {},
    )
    registry.add(model)
    return answer_json(_version(model, parts), 200 if known else 201)


def _datastore(registry: Registry, parts: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": f"{workspace(parts)['id']}/datastores/{DATASTORE}",
        "name": DATASTORE,
        "type": "Microsoft.MachineLearningServices/workspaces/datastores",
        "properties": {
            "datastoreType": "AzureBlob",
            "accountName": ACCOUNT,
            "containerName": CONTAINER,
            "endpoint": "core.windows.net",
            "protocol": "https",
            "credentials": {"credentialsType": registry.datastore_credentials},
            "isDefault": True,
            "tags": {},
            "properties": {},
        },
    }


def _get_datastore(registry: Registry, _: Request, parts: Mapping[str, str]) -> Response:
    return answer_json(_datastore(registry, parts))


def _list_datastores(registry: Registry, _: Request, parts: Mapping[str, str]) -> Response:
    return answer_json({"value": [_datastore(registry, parts)]})


def _list_secrets(registry: Registry, request: Request, _: Mapping[str, str]) -> Response:
    kind = registry.datastore_credentials
    if kind == "None":
        return failure("UserError", "No secrets for credentials of type None.", 400)
    expirable = registry.expirable_secrets and request.json().get("expirableSecret")
    if kind == "AccountKey" and not expirable:
        return answer_json({"secretsType": "AccountKey", "key": ACCOUNT_KEY})
    return answer_json({"secretsType": "Sas", "sasToken": sas("racwdl")})


_MODEL = rf"{SCOPE}/models/(?P<name>[^/]+)"
ROUTES: list[Route[Registry]] = [
    ("GET", MANAGEMENT, _MODEL, _get_container),
    ("GET", MANAGEMENT, rf"{_MODEL}/versions", _list_versions),
    ("GET", MANAGEMENT, rf"{_MODEL}/versions/(?P<version>[^/]+)", _get_version),
    ("PUT", MANAGEMENT, rf"{_MODEL}/versions/(?P<version>\d+)", _put_version),
    ("GET", MANAGEMENT, rf"{SCOPE}/datastores", _list_datastores),
    ("GET", MANAGEMENT, rf"{SCOPE}/datastores/{DATASTORE}", _get_datastore),
    ("POST", MANAGEMENT, rf"{SCOPE}/datastores/{DATASTORE}/listSecrets", _list_secrets),
]
