"""What SDK v2 (azure-ai-ml) asks about online endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.azure.endpoints import ManagedEndpoint, RefusedError
from tests.azure.entra import MANAGEMENT, SCOPE, failure
from tests.azure.exchange import Request, Response, Route, answer_json
from tests.azure.registry import Registry
from tests.azure.routes_v1 import workspace

_TYPE = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
_SYSTEM_DATA = {
    "createdAt": "2026-01-01T00:00:00.000000+00:00",
    "createdBy": "textclf tests",
    "createdByType": "Application",
    "lastModifiedAt": "2026-01-01T00:00:00.000000+00:00",
}


def _endpoint(endpoint: ManagedEndpoint, parts: Mapping[str, str]) -> dict[str, Any]:
    uri = f"https://{endpoint.name}.eastus.inference.ml.azure.com"
    return {
        "id": f"{workspace(parts)['id']}/onlineEndpoints/{endpoint.name}",
        "name": endpoint.name,
        "type": _TYPE,
        "location": "eastus",
        "kind": "Managed",
        "tags": {},
        "identity": {"type": "SystemAssigned", "principalId": "p", "tenantId": "t"},
        "properties": {
            "authMode": "Key",
            "description": None,
            "properties": {},
            "compute": endpoint.compute,
            "traffic": endpoint.traffic,
            "mirrorTraffic": endpoint.mirror_traffic,
            "publicNetworkAccess": "Enabled",
            "provisioningState": endpoint.state,
            "scoringUri": f"{uri}/score",
            "swaggerUri": f"{uri}/swagger.json",
        },
        "systemData": _SYSTEM_DATA,
    }


def _deployment(endpoint: ManagedEndpoint, name: str, parts: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": f"{workspace(parts)['id']}/onlineEndpoints/{endpoint.name}/deployments/{name}",
        "name": name,
        "type": f"{_TYPE}/deployments",
        "location": "eastus",
        "kind": "Managed",
        "tags": {},
        "sku": {"name": "Default", "capacity": 1},
        "properties": {
            "endpointComputeType": "Managed",
            "instanceType": "Standard_DS3_v2",
            "properties": {},
            "provisioningState": "Succeeded",
            "appInsightsEnabled": False,
            "scaleSettings": {"scaleType": "Default"},
        },
        "systemData": _SYSTEM_DATA,
    }


def _get(registry: Registry, _: Request, parts: Mapping[str, str]) -> Response:
    endpoint = registry.managed_endpoints.get(parts["name"])
    return answer_json(_endpoint(endpoint, parts)) if endpoint else _missing(parts)


def _missing(parts: Mapping[str, str]) -> Response:
    return failure("ResourceNotFound", f"Online endpoint {parts['name']} was not found.", 404)


def _list_deployments(registry: Registry, _: Request, parts: Mapping[str, str]) -> Response:
    endpoint = registry.managed_endpoints.get(parts["name"])
    if endpoint is None:
        return _missing(parts)
    deployments = [_deployment(endpoint, name, parts) for name in endpoint.deployments]
    return answer_json({"value": deployments})


def _put(registry: Registry, request: Request, parts: Mapping[str, str]) -> Response:
    endpoint = registry.managed_endpoints.get(parts["name"])
    if endpoint is None:
        return _missing(parts)
    asked = request.json()["properties"]
    try:
        endpoint.change(asked.get("traffic") or {}, asked.get("mirrorTraffic") or {})
    except RefusedError as exc:
        return failure("UserError", str(exc), exc.status)
    endpoint.state = "Updating"
    end = "Failed" if registry.operations.fail else "Succeeded"
    number = registry.operations.start(lambda: setattr(endpoint, "state", end))
    operation = f"{workspace(parts)['id'].partition('/workspaces/')[0]}/locations/eastus"
    url = f"https://{MANAGEMENT}{operation}/mfeOperationsStatus/{number}"
    answer = answer_json(_endpoint(endpoint, parts))
    headers = {"Azure-AsyncOperation": url, "Retry-After": "1"}
    return Response(body=answer.body, headers={**answer.headers, **headers})


def _get_operation(registry: Registry, _: Request, parts: Mapping[str, str]) -> Response:
    operations, number = registry.operations, parts["number"]
    if not operations.poll(number):
        answer = answer_json({"id": number, "name": number, "status": "InProgress"})
        return Response(body=answer.body, headers={**answer.headers, "Retry-After": "1"})
    if operations.fail:
        error = {"code": "InternalServerError", "message": "The traffic could not be applied."}
        return answer_json({"id": number, "name": number, "status": "Failed", "error": error})
    return answer_json({"id": number, "name": number, "status": "Succeeded"})


_ENDPOINT = rf"{SCOPE}/onlineEndpoints/(?P<name>[^/]+)"
_LOCATION = r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/[^/]+/locations/eastus"
ROUTES: list[Route[Registry]] = [
    ("GET", MANAGEMENT, _ENDPOINT, _get),
    ("PUT", MANAGEMENT, _ENDPOINT, _put),
    ("GET", MANAGEMENT, rf"{_ENDPOINT}/deployments", _list_deployments),
    ("GET", MANAGEMENT, rf"{_LOCATION}/mfeOperationsStatus/(?P<number>\d+)", _get_operation),
]
