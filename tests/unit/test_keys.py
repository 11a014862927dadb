"""Keys open the door; nothing else does."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from textclf.errors import SettingsError, UnauthorizedError
from textclf.http.keys import KeyRing

KEYS = (b"first", b"second", "schlüssel".encode())
RING = KeyRing(hashlib.sha256(key).hexdigest() for key in KEYS)
HEADERS = ["Bearer first", "bearer second", "BEARER  second ", "Bearer schl\xc3\xbcssel"]


@pytest.mark.parametrize("authorization", HEADERS)
def test_known_key_is_accepted(authorization: str) -> None:
    """The scheme's case does not matter; a key may be any UTF-8."""
    RING.check(authorization)


@pytest.mark.parametrize(
    "authorization", ["", "first", "Bearer", "Bearer third", "Basic first", "Bearer \xff"]
)
def test_anything_else_is_refused(authorization: str) -> None:
    """The refusal says how to authenticate and never repeats the key."""
    with pytest.raises(UnauthorizedError) as refusal:
        RING.check(authorization)

    assert refusal.value.headers == {"WWW-Authenticate": "Bearer"}
    assert "third" not in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no key"),
        ("# only a comment\n\n", "has no key"),
        ("web:secret", "line 1 is not name:sha256"),
        (f"web:{'a' * 64}\nmobile", "line 2 is not name:sha256"),
    ],
    ids=["empty", "comment", "key in the clear", "second line"],
)
def test_unusable_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    """A file that would lock everybody out, or nobody, stops the start."""
    path = tmp_path / "keys"
    path.write_text(content)

    with pytest.raises(SettingsError, match=message) as refusal:
        KeyRing.read(path)

    assert "secret" not in str(refusal.value)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    """The message names the setting and the file."""
    with pytest.raises(SettingsError, match="TEXTCLF_API_KEYS_FILE: cannot read"):
        KeyRing.read(tmp_path / "nope")
