"""A service principal is read, or refused by the name of its key; its secret shows nowhere."""

from __future__ import annotations

import json
from typing import Any

import pytest

from textclf.azureml.credentials import parse_credentials
from textclf.azureml.redaction import redact
from textclf.errors import AccessError
from textclf.settings import Settings, read_azure_credentials

_SECRET = 'PLANTED~"secret"/+0123456789'  # noqa: S105
_OLDER = {
    "clientId": "client",
    "clientSecret": _SECRET,
    "subscriptionId": "subscription",
    "tenantId": "tenant",
}
_NEWER = {"appId": "client", "displayName": "ci", "password": _SECRET, "tenant": "tenant"}
_ENDPOINTS = {
    "activeDirectoryEndpointUrl": "https://login.microsoftonline.com",
    "resourceManagerEndpointUrl": "https://management.azure.com/",
    "sqlManagementEndpointUrl": None,
}


@pytest.mark.parametrize(
    ("content", "subscription_id"),
    [(_OLDER, "subscription"), (_OLDER | _ENDPOINTS, "subscription"), (_NEWER, None)],
    ids=["--sdk-auth", "with endpoints", "without --json-auth"],
)
def test_each_spelling_is_read(content: dict[str, Any], subscription_id: str | None) -> None:
    """Whatever az ad sp create-for-rbac prints can be set, and its secret is not shown again."""
    credentials = parse_credentials(json.dumps(content, indent=2))

    assert credentials
    assert (credentials.tenant_id, credentials.client_id) == ("tenant", "client")
    assert (credentials.client_secret, credentials.subscription_id) == (_SECRET, subscription_id)
    assert "PLANTED" not in repr(credentials) + str(credentials)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "AZURE_CREDENTIALS is set but empty; set it to"),
        (" \n", "AZURE_CREDENTIALS is set but empty; set it to"),
        (_SECRET, "AZURE_CREDENTIALS is not JSON; set it to what az ad sp create-for-rbac"),
        (json.dumps(_OLDER)[:-2], "AZURE_CREDENTIALS is not JSON"),
        (json.dumps([_SECRET]), "AZURE_CREDENTIALS is JSON, but no object"),
        (json.dumps(_SECRET), "AZURE_CREDENTIALS is JSON, but no object"),
        ("{}", "has no tenantId or tenant, no clientId or appId, no clientSecret or password;"),
        (json.dumps(_OLDER | {"clientSecret": [_SECRET]}), "clientSecret in AZURE_CREDENTIALS is"),
        (json.dumps(_OLDER | {"tenantId": " "}), "tenantId in AZURE_CREDENTIALS is"),
        (json.dumps({"clientSecret": _SECRET, "tenantId": "t"}), "has no clientId or appId; set"),
    ],
    ids=[
        "empty",
        "blank",
        "the secret alone",
        "cut short",
        "array",
        "text",
        "no keys",
        "wrong type",
        "empty value",
        "one key",
    ],
)
def test_what_cannot_be_used_is_named(text: str, said: str) -> None:
    """The message names the key and says what to set; no value is in it, or behind it."""
    with pytest.raises(AccessError) as caught:
        parse_credentials(text)

    assert said in str(caught.value)
    assert "PLANTED" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_it_need_not_be_set() -> None:
    """Without the variable there are no credentials, which is no error."""
    assert parse_credentials(read_azure_credentials({})) is None


def test_the_service_neither_minds_nor_keeps_it() -> None:
    """The settings that serve say nothing of it and do not carry it."""
    environ = {"AZURE_CREDENTIALS": json.dumps(_OLDER)}

    assert read_azure_credentials(environ) == environ["AZURE_CREDENTIALS"]
    assert "PLANTED" not in repr(Settings.from_environment(environ))


_JWT = "eyJhbGciOiJub25lIn0.eyJ0aWQiOiJ0In0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (f"the secret {_SECRET} is wrong", "the secret *** is wrong"),
        (json.dumps({"secret": _SECRET}), '{"secret": "***"}'),
        ("secret=PLANTED~%22secret%22%2F%2B0123456789&x=1", "secret=***&x=1"),
        (f"token {_JWT}, expired", "token ***, expired"),
        (f"Authorization: Bearer {_JWT}", "Authorization: Bearer ***"),
        ("Authorization: SharedKey account:c2ln+/==", "Authorization: SharedKey ***"),
        ("GET https://a.blob.core.windows.net/c/f?sv=1&sig=x%3D 403", None),
        ("sv=1&sig=abc%3D&sp=r", "sv=1&sig=***&sp=r"),
        ("AccountName=a;AccountKey=abc==;x", "AccountName=a;AccountKey=***;x"),
        ("proxy http://me:word@proxy:3128 fails", "proxy http://proxy:3128 fails"),
        ("model demo:1 was not found (sigma=2)", "model demo:1 was not found (sigma=2)"),
    ],
    ids=[
        "plain",
        "in JSON",
        "in a form",
        "JWT",
        "bearer",
        "shared key",
        "SAS",
        "SAS alone",
        "connection string",
        "proxy",
        "nothing secret",
    ],
)
def test_texts_that_leave_hold_no_secret(text: str, redacted: str | None) -> None:
    """A secret goes in whatever spelling it comes, and so does what looks like one."""
    expected = redacted or "GET https://a.blob.core.windows.net/c/f?*** 403"

    assert redact(text, [_SECRET]) == expected
