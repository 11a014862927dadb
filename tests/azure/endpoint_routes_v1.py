"""What SDK v1 (azureml-core) asks about endpoints on Kubernetes, and what scores on them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from tests.azure.endpoints import KubernetesEndpoint, RefusedError
from tests.azure.entra import SCOPE, failure
from tests.azure.exchange import Request, Response, Route, answer_json
from tests.azure.registry import ENDPOINT_KEY, HISTORY_API, SCORING, Registry

_CREATED = "2026-01-01T00:00:00Z"


def _common(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "description": None,
        "kvTags": {},
        "properties": {},
        "createdTime": _CREATED,
        "updatedTime": _CREATED,
        "appInsightsEnabled": True,
        "authEnabled": True,
        "aadAuthEnabled": False,
        "computeName": "inference",
        "state": "Healthy",
    }


def _version(endpoint: KubernetesEndpoint, name: str) -> dict[str, Any]:
    return _common(name) | {
        "computeType": "AKS",
        "scoringUri": f"https://{SCORING}/api/v1/service/{endpoint.name}-{name}/score",
        "autoScaler": {
            "autoscaleEnabled": True,
            "maxReplicas": 10,
            "minReplicas": 1,
            "refreshPeriodInSeconds": 1,
            "targetUtilization": 70,
        },
        "containerResourceRequirements": {
            "cpu": 1.0,
            "cpuLimit": 1.0,
            "memoryInGB": 1.0,
            "memoryInGBLimit": 1.0,
            "gpu": None,
        },
        "dataCollection": {"eventHubEnabled": False, "storageEnabled": False},
        "livenessProbeRequirements": {
            "periodSeconds": 10,
            "initialDelaySeconds": 310,
            "timeoutSeconds": 2,
            "failureThreshold": 3,
            "successThreshold": 1,
        },
        "maxConcurrentRequestsPerContainer": 1,
        "maxQueueWaitMs": 500,
        "numReplicas": None,
        "scoringTimeoutMs": 60000,
        "trafficPercentile": endpoint.percentiles[name],
        "isDefault": name == endpoint.default,
        "type": "Control" if name == endpoint.default else "Treatment",
    }


def _service(endpoint: KubernetesEndpoint) -> dict[str, Any]:
    return _common(endpoint.name) | {
        "computeType": "AKSENDPOINT",
        "scoringUri": f"https://{SCORING}/api/v1/service/{endpoint.name}/score",
        "state": "Transitioning" if endpoint.busy else "Healthy",
        "versions": {name: _version(endpoint, name) for name in endpoint.percentiles},
    }


def _get_service(registry: Registry, _: Request, parts: Mapping[str, str]) -> Response:
    endpoint = registry.kubernetes_endpoints.get(parts["name"])
    if endpoint is None:
        return failure("ServiceNotFound", f"Service {parts['name']} was not found.", 404)
    return answer_json(_service(endpoint))


def _validate(_: Registry, __: Request, ___: Mapping[str, str]) -> Response:
    return answer_json({})


def _patch_service(registry: Registry, request: Request, parts: Mapping[str, str]) -> Response:
    endpoint = registry.kubernetes_endpoints.get(parts["name"])
    if endpoint is None:
        return failure("ServiceNotFound", f"Service {parts['name']} was not found.", 404)
    try:
        _apply(endpoint, request.json())
    except RefusedError as exc:
        return failure("BadRequest", str(exc), exc.status)
    endpoint.busy = True
    number = registry.operations.start(lambda: setattr(endpoint, "busy", False))
    location = f"{HISTORY_API}/api{request.path.partition('/services/')[0]}/operations/{number}"
    return Response(status=202, headers={"Operation-Location": location})


def _apply(endpoint: KubernetesEndpoint, patch: list[dict[str, Any]]) -> None:
    percentiles, defaults = dict(endpoint.percentiles), {endpoint.default: True}
    for change in patch:
        _empty, _versions, name, field = change["path"].split("/")
        if name not in percentiles or change["op"] != "replace":
            raise RefusedError(f"{change['op']} {change['path']} is not possible.")
        if field == "trafficPercentile":
            percentiles[name] = change["value"]
        elif field == "isDefault":
            defaults[name] = change["value"]
    default = [name for name, is_default in defaults.items() if is_default]
    if len(default) != 1:
        raise RefusedError(f"One version has to be the default, not {len(default)}.")
    endpoint.change(percentiles, default[0])


def _get_operation(registry: Registry, _: Request, parts: Mapping[str, str]) -> Response:
    operations = registry.operations
    if not operations.poll(parts["number"]):
        return answer_json({"id": parts["number"], "state": "Running"})
    if operations.fail:
        error = {"code": "KubernetesDeploymentFailed", "message": "A replica does not start."}
        return answer_json({"id": parts["number"], "state": "Failed", "error": error})
    return answer_json({"id": parts["number"], "state": "Succeeded"})


def _list_keys(_: Registry, __: Request, ___: Mapping[str, str]) -> Response:
    return answer_json({"primaryKey": ENDPOINT_KEY, "secondaryKey": ENDPOINT_KEY})


def _score(registry: Registry, request: Request, parts: Mapping[str, str]) -> Response:
    endpoint = registry.kubernetes_endpoints[parts["name"]]
    if request.headers.get("authorization") != f"Bearer {ENDPOINT_KEY}":
        return failure("AuthenticationFailed", "The key is missing or wrong.", 401)
    # Every version in turn, as often as its share says, in each hundred of requests.
    turn = 37 * sum(endpoint.answered.values()) % 100
    ends = itertools.accumulate(endpoint.shares.values())
    version = next(n for n, end in zip(endpoint.shares, ends, strict=True) if turn < end)
    endpoint.answered[version] += 1
    if version in endpoint.broken:
        return failure("InternalServerError", "The scoring script failed.", 500)
    positive = "not" not in request.json()[0]
    answer = str(positive).lower() if version in endpoint.spelling else positive
    return answer_json({"positive": answer})


_API = "eastus.api.azureml.ms"
_BASE = rf"/modelmanagement/v1\.0{SCOPE}"
ROUTES: list[Route[Registry]] = [
    ("POST", _API, rf"{_BASE}/services/validate", _validate),
    ("GET", _API, rf"{_BASE}/services/(?P<name>[^/]+)", _get_service),
    ("PATCH", _API, rf"{_BASE}/services/(?P<name>[^/]+)", _patch_service),
    ("POST", _API, rf"{_BASE}/services/(?P<name>[^/]+)/listkeys", _list_keys),
    ("GET", _API, rf"{_BASE}/operations/(?P<number>\d+)", _get_operation),
    ("POST", SCORING, r"/api/v1/service/(?P<name>[^/]+)/score", _score),
]
