"""Who may ask for predictions."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from textclf.errors import SettingsError, UnauthorizedError

_LINE = re.compile(r"(?P<name>[\w.-]+):(?P<sha256>[0-9a-f]{64})")


class KeyRing:
    """The keys that open the predicting routes, known by their sha256 alone."""

    def __init__(self, hashes: Iterable[str]) -> None:
        self._hashes = tuple(hashes)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read ``name:sha256`` lines; blank lines and lines that start with # are skipped.

        Raises:
            SettingsError: The file cannot be read, has a line of another form, or has no key.
        """
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as exc:
            raise SettingsError(f"TEXTCLF_API_KEYS_FILE: cannot read {path}: {exc}") from exc
        hashes = []
        for number, line in enumerate(lines, start=1):
            if not line.strip() or line.startswith("#"):
                continue
            match = _LINE.fullmatch(line.strip())
            if match is None:
                raise SettingsError(
                    f"TEXTCLF_API_KEYS_FILE: {path}, line {number} is not name:sha256; "
                    "make one with: printf %s KEY | sha256sum"
                )
            hashes.append(match["sha256"])
        if not hashes:
            raise SettingsError(f"TEXTCLF_API_KEYS_FILE: {path} has no key; add one or unset it")
        return cls(hashes)

    def check(self, authorization: str) -> None:
        """Accept the value of an Authorization header, decoded as latin-1, or refuse it.

        Every key is compared in constant time, whether or not an earlier one matched.

        Raises:
            UnauthorizedError: It is no bearer token, or not one of the keys.
        """
        scheme, _, key = authorization.partition(" ")
        found = hashlib.sha256(key.strip().encode("latin-1")).hexdigest()
        matches = [hmac.compare_digest(found, known) for known in self._hashes]
        if scheme.lower() != "bearer" or not any(matches):
            raise UnauthorizedError(
                "this route asks for a key: send Authorization: Bearer KEY",
                headers={"WWW-Authenticate": "Bearer"},
            )
