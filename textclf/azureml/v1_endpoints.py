"""Endpoints on Kubernetes, whose versions share traffic, through azureml-core; a worker runs it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from azureml.core.webservice import AksEndpoint
from azureml.exceptions import WebserviceException

from textclf.azureml.worker import Failure, looking_for

_CHANGING = "Transitioning"
_POLL_SECONDS = 2.0


def read(workspace: Any, name: str) -> dict[str, Any]:
    """Return an endpoint, once no change of it is under way."""
    return _describe(_find(workspace, name))


def update(workspace: Any, name: str, updates: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Update versions one after the other, each once the one before holds."""
    endpoint = _find(workspace, name)
    with looking_for("endpoint"):
        for change in updates:
            endpoint.update_version(
                change["version"],
                traffic_percentile=change["traffic_percentile"],
                is_default=change["is_default"],
            )
            if endpoint._operation_endpoint:  # noqa: SLF001 - without one, it refuses to wait
                endpoint.wait_for_deployment()
    return _describe(_find(workspace, name))


def _find(workspace: Any, name: str) -> Any:
    with looking_for("endpoint"):
        try:
            endpoint = AksEndpoint(workspace, name)
        except WebserviceException as exc:
            if "WebserviceNotFound" in exc.message:
                raise Failure("endpoint") from exc
            raise
        if not isinstance(endpoint, AksEndpoint):  # the constructor returns what there is
            kind = type(endpoint).__name__
            raise Failure("invalid", f"it is an {kind}, which has no versions to share traffic")
        while endpoint.state == _CHANGING:
            time.sleep(_POLL_SECONDS)
            endpoint.update_deployment_state()
    return endpoint


def _describe(endpoint: Any) -> dict[str, Any]:
    return {
        "state": endpoint.state,
        "versions": {
            name: {
                "traffic_percentile": version.traffic_percentile or 0,
                "is_default": bool(version.is_default),
            }
            for name, version in endpoint.versions.items()
        },
    }
