"""Signing in, and what a client may see once it has."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Mapping
from urllib.parse import parse_qs

from tests.azure.exchange import Request, Response, Route, answer_json
from tests.azure.registry import (
    BLOB_HOST,
    CLIENT,
    RESOURCE_GROUP,
    SCORING,
    SUBSCRIPTION,
    TENANT,
    TOKEN_SIGNATURE,
    WORKSPACE,
    Registry,
)

LOGIN = "login.microsoftonline.com"
MANAGEMENT = "management.azure.com"
SCOPE = (
    r"/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)"
    r"/providers/Microsoft\.MachineLearningServices/workspaces/(?P<workspace>[^/]+)"
)
_ABOUT_MODELS = r"/workspaces/[^/]+/models(/|$)"
_ABOUT_ENDPOINTS = r"/workspaces/[^/]+/(services|onlineEndpoints)(/|$)"


def _metadata(_: Registry, __: Request, parts: Mapping[str, str]) -> Response:
    base = f"https://{LOGIN}/{parts['tenant']}"
    return answer_json(
        {
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "issuer": f"{base}/v2.0",
        }
    )


def _discover_instance(_: Registry, __: Request, ___: Mapping[str, str]) -> Response:
    """Answer what MSAL asks before it tells of a refused secret."""
    endpoint = f"https://{LOGIN}/{TENANT}/v2.0/.well-known/openid-configuration"
    host = {"preferred_network": LOGIN, "preferred_cache": LOGIN, "aliases": [LOGIN]}
    return answer_json({"tenant_discovery_endpoint": endpoint, "metadata": [host]})


def _token(registry: Registry, request: Request, parts: Mapping[str, str]) -> Response:
    form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
    if parts["tenant"] != TENANT:
        return _refuse(
            "invalid_request", f"AADSTS90002: Tenant '{parts['tenant']}' not found.", 400
        )
    if form.get("client_id") != CLIENT:
        return _refuse("unauthorized_client", "AADSTS700016: Application was not found.", 400)
    if form.get("client_secret") != registry.client_secret:
        return _refuse(
            "invalid_client",
            "AADSTS7000215: Invalid client secret provided. Ensure the secret being sent in the "
            "request is the client secret value, not the client secret ID.",
            401,
        )
    return answer_json({"token_type": "Bearer", "expires_in": 3599, "access_token": make_token()})


def _refuse(error: str, description: str, status: int) -> Response:
    return answer_json({"error": error, "error_description": description}, status)


def make_token() -> str:
    """Return a token as is given out to who signs in."""
    claims = {"exp": int(time.time()) + 3599, "tid": TENANT, "oid": CLIENT, "appid": CLIENT}
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"alg": "RS256", "typ": "JWT"}, claims)
    ]
    return ".".join([*parts, TOKEN_SIGNATURE])


def _subscriptions(registry: Registry, _: Request, __: Mapping[str, str]) -> Response:
    visible = [] if registry.faults.subscription_invisible else [SUBSCRIPTION]
    return answer_json(
        {
            "value": [
                {
                    "id": f"/subscriptions/{one}",
                    "subscriptionId": one,
                    "displayName": "tests",
                    "tenantId": TENANT,
                    "state": "Enabled",
                }
                for one in visible
            ]
        }
    )


def refusal(registry: Registry, request: Request, parts: Mapping[str, str]) -> Response | None:
    """Return why a request may not go on to its route; None if it may."""
    # SDK v1 sends no token to the discovery; the storage account and what scores have own rules.
    if request.host in {LOGIN, BLOB_HOST, SCORING} or request.path.startswith("/discovery/"):
        return None
    if not has_token(request):
        return failure("AuthenticationFailed", "Authentication failed.", 401)
    if "workspace" in parts and (missing := _not_found(registry, parts)):
        return failure(*missing, 404)
    faults = registry.faults
    for status, about in (
        (faults.models_status, _ABOUT_MODELS),
        (faults.endpoints_status, _ABOUT_ENDPOINTS),
    ):
        if status and re.search(about, request.path):
            message = "The client does not have authorization to perform this action on this scope."
            return failure("AuthorizationFailed", message, status)
    return None


def _not_found(registry: Registry, parts: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the code and the message that Azure Resource Manager has for it."""
    subscription, group, workspace = parts["subscription"], parts["group"], parts["workspace"]
    if registry.faults.subscription_invisible or subscription != SUBSCRIPTION:
        return "SubscriptionNotFound", f"The subscription '{subscription}' could not be found."
    if group.lower() != RESOURCE_GROUP:
        return "ResourceGroupNotFound", f"Resource group '{group}' could not be found."
    if registry.faults.workspace_missing or workspace.lower() != WORKSPACE:
        resource = f"Microsoft.MachineLearningServices/workspaces/{workspace}"
        return (
            "ResourceNotFound",
            f"The Resource '{resource}' under resource group '{group}' was not found.",
        )
    return None


def has_token(request: Request) -> bool:
    """Tell whether a request carries a token that was given out here."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return scheme == "Bearer" and token.endswith(f".{TOKEN_SIGNATURE}")


def failure(code: str, message: str, status: int) -> Response:
    """Return an error that either SDK can read: v1 wants ``statusCode``, v2 ``error``."""
    return answer_json(
        {
            "error": {"code": code, "message": message},
            "code": code,
            "message": message,
            "statusCode": status,
        },
        status,
    )


ROUTES: list[Route[Registry]] = [
    ("GET", LOGIN, "/common/discovery/instance", _discover_instance),
    ("GET", LOGIN, r"/(?P<tenant>[^/]+)/v2\.0/\.well-known/openid-configuration", _metadata),
    ("POST", LOGIN, r"/(?P<tenant>[^/]+)/oauth2/v2\.0/token", _token),
    ("GET", MANAGEMENT, r"/subscriptions", _subscriptions),
]
