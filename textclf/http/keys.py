"""Who may ask for predictions, and how much."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from textclf.errors import SettingsError, UnauthorizedError
from textclf.http.rates import Rate, TokenBucket

MAX_NAME_CHARACTERS = 64
NAME = re.compile(rf"[A-Za-z0-9_.-]{{1,{MAX_NAME_CHARACTERS}}}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SETTING = "TEXTCLF_API_KEYS_FILE"
_MAX_FILE_BYTES = 1 << 20
MAX_RATED_KEYS = 1000  # each that was asked with has a file open in each worker


@dataclass(eq=False, slots=True)
class Key:
    """A key, known by its sha256 alone.

    Attributes:
        name: Whose it is; in the log and in metrics. Several keys may have one.
        sha256: Of the key, in lower-case hexadecimal.
        rate: How many texts it may ask for; None for any.
        bucket: What counts them, once it was asked for some.
    """

    name: str
    sha256: str
    rate: Rate | None = None
    bucket: TokenBucket | None = field(default=None, repr=False)


class KeyRing:
    """The keys that open the predicting routes."""

    def __init__(self, keys: Iterable[Key], *, shared: Path | None = None) -> None:
        """Take the keys.

        Args:
            keys: At first; ``replace`` has others.
            shared: Folder through which the workers share what a key with a rate has used.
        """
        # A look into a dict takes as long as the hashes of its keys let it. Nobody outside knows
        # these: they are of a secret that lives as long as the process.
        self._secret = os.urandom(32)
        self._shared = shared
        self._keys: dict[bytes, Key] = {}
        self.replace(keys)

    def replace(self, keys: Iterable[Key]) -> None:
        """Let these keys in, and no others any more; from any thread."""
        before = self._keys
        self._keys = {self._tag(bytes.fromhex(key.sha256)): key for key in keys}
        for tag, key in self._keys.items():
            if (known := before.get(tag)) and known.rate == key.rate:
                key.bucket = known.bucket

    def check(self, authorization: str) -> Key:
        """Return the key in an Authorization header, decoded as latin-1, or refuse it.

        Takes equally long for every key, known or not, however many there are.

        Raises:
            UnauthorizedError: It is no bearer token, or not one of the keys.
        """
        scheme, _, token = authorization.partition(" ")
        digest = hashlib.sha256(token.strip().encode("latin-1")).digest()
        key = self._keys.get(self._tag(digest))
        known = key.sha256 if key else "0" * 64
        if not hmac.compare_digest(digest.hex(), known) or scheme.lower() != "bearer" or not key:
            raise UnauthorizedError(
                "this route asks for a key: send Authorization: Bearer KEY",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return key

    def let_in(self, key: Key) -> None:
        """Count a text of a key, of which nobody knows yet how many it sends.

        Raises:
            RateLimitedError: The key has used up its rate.
        """
        if key.rate is not None:
            if key.bucket is None:
                key.bucket = self._open_bucket(key.sha256, key.rate)
            key.bucket.let_in()

    def _tag(self, digest: bytes) -> bytes:
        return hashlib.blake2b(digest, key=self._secret, digest_size=16).digest()

    def _open_bucket(self, sha256: str, rate: Rate) -> TokenBucket:
        # the file tells nothing of the key: it is named after the hash of its hash
        name = hashlib.sha256(sha256.encode()).hexdigest()[:32]
        return TokenBucket(rate, self._shared and self._shared / f"key-{name}.rate")


def read_keys_file(path: Path) -> bytes:
    """Return what a keys file holds.

    Raises:
        SettingsError: It cannot be read, or is far too large.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise SettingsError(f"{_SETTING}: cannot read {path}: {exc}") from exc
    if len(content) > _MAX_FILE_BYTES:
        raise SettingsError(f"{_SETTING}: {path} is over {_MAX_FILE_BYTES} bytes")
    return content


def parse_keys(content: bytes, path: Path) -> list[Key]:
    """Read ``name:sha256`` and ``name:sha256:rate=50,burst=200`` lines.

    Blank lines and lines that start with # are skipped.

    Raises:
        SettingsError: A line has another form, two have the same key, there is none, or more than
            ``MAX_RATED_KEYS`` have a rate.
    """
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as exc:
        raise SettingsError(f"{_SETTING}: {path} is not UTF-8") from exc
    keys = list(_read_lines(lines, path))
    if not keys:
        raise SettingsError(f"{_SETTING}: {path} has no key; add one or unset it")
    if sum(key.rate is not None for key in keys) > MAX_RATED_KEYS:
        raise SettingsError(
            f"{_SETTING}: {path} has over {MAX_RATED_KEYS} keys with a rate; let a gateway hold "
            "clients to theirs"
        )
    return keys


def _read_lines(lines: Iterable[str], path: Path) -> Iterator[Key]:
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        key = _read_line(line.strip())
        if key is None:
            raise SettingsError(
                f"{_SETTING}: {path}, line {number} is not name:sha256 or "
                "name:sha256:rate=TEXTS_PER_SECOND; make one with scripts/make_api_key.py NAME"
            )
        first = seen.setdefault(key.sha256, number)
        if first != number:
            raise SettingsError(
                f"{_SETTING}: {path}, line {number} has the key of line {first}; remove one"
            )
        yield key


def _read_line(line: str) -> Key | None:
    name, _, rest = line.partition(":")
    sha256, limited, limit = rest.partition(":")
    rate = Rate.parse(limit) if limited else None
    if not NAME.fullmatch(name) or not _SHA256.fullmatch(sha256) or (limited and rate is None):
        return None
    return Key(name, sha256, rate)
