"""Online endpoints, whose deployments share traffic, through azure-ai-ml; a worker runs it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from azure.ai.ml import MLClient
from azure.ai.ml.entities import OnlineEndpoint

from textclf.azureml.worker import looking_for

_CHANGING = {"Creating", "Updating"}
_POLL_SECONDS = 2.0


def read(client: MLClient, name: str) -> dict[str, Any]:
    """Return an endpoint, once no change of it is under way."""
    return _describe(_find(client, name))


def update(
    client: MLClient, name: str, traffic: Mapping[str, int], mirror_traffic: Mapping[str, int]
) -> dict[str, Any]:
    """Share out traffic at once, and wait until that holds."""
    endpoint = _find(client, name)
    with looking_for("endpoint"):
        endpoint.traffic = dict(traffic)
        endpoint.mirror_traffic = dict(mirror_traffic)
        client.online_endpoints.begin_create_or_update(endpoint).result()
    return _describe(_find(client, name))


def _find(client: MLClient, name: str) -> OnlineEndpoint:
    with looking_for("endpoint"):
        endpoint = client.online_endpoints.get(name)
        while endpoint.provisioning_state in _CHANGING:
            time.sleep(_POLL_SECONDS)
            endpoint = client.online_endpoints.get(name)
    return endpoint


def _describe(endpoint: OnlineEndpoint) -> dict[str, Any]:
    # The SDK sends names in lower case, and adds each deployment without traffic as it is spelled.
    traffic: dict[str, int] = {}
    for name, percent in endpoint.traffic.items():
        traffic[name.lower()] = traffic.get(name.lower(), 0) + percent
    return {
        "state": endpoint.provisioning_state,
        "deployments": sorted(traffic.keys() | set(endpoint.mirror_traffic)),
        "traffic": {name: percent for name, percent in traffic.items() if percent},
        "mirror_traffic": {name: p for name, p in endpoint.mirror_traffic.items() if p},
    }
