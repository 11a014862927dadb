"""The service principal that ``AZURE_CREDENTIALS`` describes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from textclf.errors import AccessError

VARIABLE = "AZURE_CREDENTIALS"
# What az ad sp create-for-rbac prints with --json-auth, and what it prints without.
_SPELLINGS = {
    "tenant_id": ("tenantId", "tenant"),
    "client_id": ("clientId", "appId"),
    "client_secret": ("clientSecret", "password"),
    "subscription_id": ("subscriptionId",),
}
_OPTIONAL = "subscription_id"
_REMEDY = "set it to what az ad sp create-for-rbac --json-auth prints"


@dataclass(frozen=True, kw_only=True)
class AzureCredentials:
    """A service principal; the secret is in no representation of it."""

    tenant_id: str
    client_id: str
    client_secret: str = field(repr=False)
    subscription_id: str | None = None


def parse_credentials(text: str | None) -> AzureCredentials | None:
    """Read the JSON of a service principal; None stays None.

    Raises:
        AccessError: It is no such JSON; the message names keys but never a value.
    """
    if text is None:
        return None
    if not text.strip():
        raise AccessError(f"{VARIABLE} is set but empty; {_REMEDY}, or unset it to use az login")
    try:
        content = json.loads(text)
    except ValueError:  # its message may go along with the text, which holds the secret
        raise AccessError(f"{VARIABLE} is not JSON; {_REMEDY}") from None
    if not isinstance(content, dict):
        raise AccessError(f"{VARIABLE} is JSON, but no object; {_REMEDY}")
    found = {name: _value(content, keys) for name, keys in _SPELLINGS.items()}
    missing = [
        " or ".join(_SPELLINGS[name])
        for name, value in found.items()
        if value is None and name != _OPTIONAL
    ]
    if missing:
        raise AccessError(f"{VARIABLE} has no {', no '.join(missing)}; {_REMEDY}")
    return AzureCredentials(**found)  # type: ignore[arg-type]  # only the optional one is None


def _value(content: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    key = next((key for key in keys if key in content), None)
    if key is None:
        return None
    value = content[key]
    if not isinstance(value, str) or not value.strip():
        raise AccessError(f"{key} in {VARIABLE} is not a text or is empty; {_REMEDY}")
    return value.strip()
