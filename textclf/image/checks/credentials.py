"""What looks like a credential, in a file or in the configuration of an image."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping

KEEP_BYTES = 4096  # what is looked for is never longer
# Kind, a literal that is quick to look for, and what has to stand there. Of a private key its
# first line has to be there too: code that handles keys is full of their headers.
# Sources: https://github.com/gitleaks/gitleaks/blob/master/config/gitleaks.toml
#     https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/about-authentication-to-github
_PATTERNS: tuple[tuple[str, bytes, re.Pattern[bytes]], ...] = tuple(
    (kind, literal, re.compile(pattern))
    for kind, literal, pattern in (
        (
            "a private key",
            b"PRIVATE KEY-----",
            (
                rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----(?:\\n|\\r|\s)+"
                rb"(?:Proc-Type:[^\n]*\s+DEK-Info:[^\n]*\s+)?[A-Za-z0-9+/=]{40,}"
            ),
        ),
        ("an AWS access key", b"AKIA", rb"(?<![A-Za-z0-9+/])AKIA[A-Z2-7]{16}(?![A-Za-z0-9+/=])"),
        ("an AWS access key", b"ASIA", rb"(?<![A-Za-z0-9+/])ASIA[A-Z2-7]{16}(?![A-Za-z0-9+/=])"),
        (
            "an AWS secret key",
            b"aws_secret_access_key",
            rb"aws_secret_access_key[\"']?\s*[=:]\s*[\"']?[A-Za-z0-9+/]{40}(?![A-Za-z0-9+/=])",
        ),
        ("a GitHub token", b"ghp_", rb"\bghp_[A-Za-z0-9]{36}"),
        ("a GitHub token", b"gho_", rb"\bgho_[A-Za-z0-9]{36}"),
        ("a GitHub token", b"ghs_", rb"\bghs_[A-Za-z0-9]{36}"),
        ("a GitHub token", b"github_pat_", rb"\bgithub_pat_[A-Za-z0-9_]{60,}"),
        ("an Azure storage key", b"AccountKey=", rb"AccountKey=[A-Za-z0-9+/]{86}=="),
        ("an Azure service principal", b'"clientSecret"', rb'"clientSecret"\s*:\s*"[^"\s]{8,}"'),
        ("an Azure client secret", b"8Q~", rb"\b[A-Za-z0-9_~.-]{3}8Q~[A-Za-z0-9_~.-]{31,34}"),
        ("a Hugging Face token", b"hf_", rb"\bhf_[A-Za-z]{34}\b"),
        ("a PyPI token", b"pypi-AgEI", rb"\bpypi-AgEI[A-Za-z0-9_-]{50,}"),
        ("a GitLab token", b"glpat-", rb"\bglpat-[A-Za-z0-9_-]{20}"),
    )
)
_IN_URL = re.compile(rb"://[^/\s:@]+:[^/\s@$]+@")
_FILES = {
    ".netrc", "_netrc", ".env", ".pypirc", ".git-credentials", ".htpasswd",
    "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519",
}  # fmt: skip
_FILES_WITH = {
    "pip.conf": _IN_URL,
    "uv.toml": _IN_URL,
    ".npmrc": re.compile(rb"_authToken|_password"),
    "config.json": re.compile(rb'"auths"\s*:\s*\{[^{}]*\{[^{}]*"auth"\s*:\s*"[^"]+"'),
    "credentials": re.compile(rb"aws_access_key_id|aws_secret_access_key"),
    "accessTokens.json": re.compile(rb"accessToken"),
}
_NAME = re.compile(
    r"PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIAL|AUTH$",
    re.IGNORECASE,
)
_HARMLESS = re.compile(r"(_FILE|_PATH|_DIR|_URL|_NAME|_SECONDS|_MAX|_LIMIT)$", re.IGNORECASE)
_ASSIGNMENT = re.compile(r"(?<![\w$-])([A-Za-z_]\w*)=(\"[^\"]*\"|'[^']*'|[^\s\"']+)")


def find_credentials(path: str, content: bytes) -> Iterator[str]:
    """Return what kinds of credentials a file holds, or is by its name."""
    name = posixpath.basename(path)
    if name in _FILES:
        yield "credentials, by its name"
    if name in _FILES_WITH and _FILES_WITH[name].search(content):
        yield "a password or token"
    for kind, literal, pattern in _PATTERNS:
        if literal in content and pattern.search(content):
            yield kind


def find_assigned(text: str) -> Iterator[str]:
    """Return the names in ``NAME=value`` that a secret would have, and what looks like one."""
    for name, value in _ASSIGNMENT.findall(text):
        if _NAME.search(name) and not _HARMLESS.search(name) and value.strip("\"'"):
            yield f"a value for {name}"
    if _IN_URL.search(text.encode()):
        yield "a password in an address"
    yield from find_credentials("", text.encode())


def find_in_configuration(config: Mapping[str, str]) -> Iterator[str]:
    """Return the places of a configuration that look like a credential: never the value."""
    for place, text in config.items():
        for found in dict.fromkeys(find_assigned(text)):
            yield f"{place} holds {found}"
