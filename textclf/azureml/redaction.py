"""What may leave: texts without secrets, tokens and signed query strings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

_HIDDEN = "***"
_PATTERNS = (
    (re.compile(r"(\w+://)[^/\s@]+@"), r"\1"),  # userinfo
    (re.compile(r"(\w+://[^\s?\"'<>]+)\?[^\s\"'<>]+"), rf"\1?{_HIDDEN}"),  # a SAS
    (re.compile(r"\beyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?"), _HIDDEN),  # a JWT
    (re.compile(r"(?i)\b(bearer|sharedkey)\s+[\w.~+/=:-]+"), rf"\1 {_HIDDEN}"),
    (
        re.compile(r"(?i)\b(sig|AccountKey|SharedAccessSignature|client_secret)=[^&\s\"';]+"),
        rf"\1={_HIDDEN}",
    ),
)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return ``text`` without the secrets, however they are spelled, and what looks like one."""
    for secret in secrets:
        in_json = json.dumps(secret)[1:-1]
        for spelling in (secret, in_json, quote(secret, safe=""), quote_plus(secret)):
            text = text.replace(spelling, _HIDDEN)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text
