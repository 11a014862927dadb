"""What looks like a credential, and what does not."""

from __future__ import annotations

import pytest

from textclf.image.checks.credentials import find_credentials, find_in_configuration

A40 = "Ab3" * 13 + "x"
KEY_HEAD = "-----BEGIN RSA " + "PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("path", "content", "kinds"),
    [
        ("k", f"{KEY_HEAD}\n{A40}\n", ["a private key"]),
        ("k.json", f'"{KEY_HEAD}\\n{A40}"', ["a private key"]),
        ("code.py", f'if line == "{KEY_HEAD}": ...', []),
        ("k", "id=AKIA" + "QWERTYUIOPASDFGH ", ["an AWS access key"]),
        ("k", "sha512-AKIA" + "QWERTYUIOPASDFGH" + "abc", []),
        ("k", f"aws_secret_access_key = {A40}\n", ["an AWS secret key"]),
        ("k", "ghp_" + A40[:36], ["a GitHub token"]),
        ("doc.md", "tokens begin with ghp_", []),
        ("azure.json", '{"clientSecret": "' + A40 + '"}', ["an Azure service principal"]),
        ("code.py", 'body["clientSecret"] = secret', []),
        ("home/.netrc", "machine x", ["credentials, by its name"]),
        ("etc/pip.conf", "index-url = https://me:pass@x/simple", ["a password or token"]),
        ("etc/pip.conf", "index-url = https://x/simple", []),
        ("root/.docker/config.json", '{"auths": {"x": {"auth": "YTpi"}}}', ["a password or token"]),
        ("model/config.json", '{"auths": {}}', []),
    ],
)
def test_files(path: str, content: str, kinds: list[str]) -> None:
    """A credential is found by what it is; code and documents that speak of one are not."""
    assert list(find_credentials(path, content.encode())) == kinds


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("API_KEY=abc", ["there holds a value for API_KEY"]),
        ("|1 PIP_TOKEN=abc /bin/sh -c make", ["there holds a value for PIP_TOKEN"]),
        ('RUN X_PASSWORD="a b" run', ["there holds a value for X_PASSWORD"]),
        ("TEXTCLF_API_KEYS_FILE=/run/keys", []),
        ("API_KEY=", []),
        ("RUN --mount=type=secret,id=token make", []),
        ("RUN login $API_KEY", []),
        ("PATH=/usr/bin", []),
        ("source=https://me:pass@git.example.com/x.git", ["there holds a password in an address"]),
        ("source=https://git.example.com/x.git", []),
        (f"NOTE=ghp_{A40[:36]}", ["there holds a GitHub token"]),
    ],
)
def test_configuration(text: str, found: list[str]) -> None:
    """A variable is judged by its name and its value, which is never repeated."""
    assert list(find_in_configuration({"there": text})) == found
