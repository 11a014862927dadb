"""Keys open the door; nothing else does."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from textclf.errors import RateLimitedError, SettingsError, UnauthorizedError
from textclf.http.keys import Key, KeyRing, parse_keys, read_keys_file
from textclf.http.keys_file import KeysFile
from textclf.http.rates import Rate
from textclf.metrics import metrics

NAMED = {"web": "first", "mobile": "second", "Zoë".encode().hex(): "schlüssel"}
HEADERS = ["Bearer first", "bearer second", "BEARER  second ", "Bearer schl\xc3\xbcssel"]
A, B = "a" * 64, "b" * 64


def sha256(key: str) -> str:
    """Return what a file of keys has for a key."""
    return hashlib.sha256(key.encode()).hexdigest()


RING = KeyRing(Key(name, sha256(key)) for name, key in NAMED.items())


@pytest.mark.parametrize("authorization", HEADERS)
def test_known_key_is_accepted(authorization: str) -> None:
    """The scheme's case does not matter; a key may be any UTF-8."""
    assert RING.check(authorization).name in NAMED


def test_the_name_is_that_of_the_key() -> None:
    """It is what the log and the metrics show."""
    assert [RING.check(header).name for header in HEADERS[:2]] == ["web", "mobile"]


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "first",
        "Bearer",
        "Bearer third",
        "Basic first",
        "Bearer \xff",
        f"Bearer {A}",
        "Bearer web",
    ],
)
def test_anything_else_is_refused(authorization: str) -> None:
    """The refusal says how to authenticate; a name or a hash is as good as nothing."""
    with pytest.raises(UnauthorizedError) as refusal:
        RING.check(authorization)
    with pytest.raises(UnauthorizedError) as nothing:
        RING.check("")

    assert refusal.value.headers == {"WWW-Authenticate": "Bearer"}
    assert str(refusal.value) == str(nothing.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no key"),
        (b"# only a comment\n\n", "has no key"),
        (b"web:secret", "line 1 is not name:sha256"),
        (f"web:{A}\nmobile".encode(), "line 2 is not name:sha256"),
        (f"web:{A}:rate=0".encode(), "line 1 is not name:sha256"),
        (f"web:{A}:rate=5,secret".encode(), "line 1 is not name:sha256"),
        (f"a b:{A}".encode(), "line 1 is not name:sha256"),
        (f"web:{A}\n# old\nmobile:{A}:rate=5".encode(), "line 3 has the key of line 1"),
        (b"web:\xff", "is not UTF-8"),
        ("\n".join(f"web:{n:064x}:rate=5" for n in range(1001)).encode(), "over 1000 keys"),
    ],
)
def test_unusable_file_is_refused(content: bytes, message: str) -> None:
    """A file that would lock everybody out, or nobody, is none; what it holds is not repeated."""
    with pytest.raises(SettingsError, match=message) as refusal:
        parse_keys(content, Path("keys"))

    assert "secret" not in str(refusal.value)


def test_each_line_is_a_key() -> None:
    """A name may have several, of which one replaces the other; each has a rate of its own."""
    content = f"# who may ask\n\nweb:{A}\n web:{B}:rate=2.5,burst=9 \n".encode()
    first, second = parse_keys(content, Path("keys"))

    assert (first.name, first.sha256, first.rate) == ("web", A, None)
    assert (second.name, second.sha256) == ("web", B)
    assert second.rate == Rate(texts_per_second=2.5, burst_texts=9)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """The message names the setting and the file."""
    with pytest.raises(SettingsError, match=r"TEXTCLF_API_KEYS_FILE: cannot read .*nope"):
        read_keys_file(tmp_path / "nope")
    (tmp_path / "huge").write_bytes(b"#" * (1 << 21))
    with pytest.raises(SettingsError, match="is over 1048576 bytes"):
        read_keys_file(tmp_path / "huge")


def in_force(file: KeysFile) -> set[str]:
    """Return which of a few keys open the door."""
    found = set()
    for key in ("one", "two", "three"):
        try:
            found.add(file.ring.check(f"Bearer {key}").name)
        except UnauthorizedError:
            continue
    return found


def test_a_changed_file_is_in_force(tmp_path: Path) -> None:
    """Whether it is written, replaced or a link that is turned, as Kubernetes turns a secret's."""
    path, data = tmp_path / "keys", tmp_path / "..data"
    for folder, key in (("old", "two"), ("new", "three")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "keys").write_text(f"{key}:{sha256(key)}\n")
    path.write_text(f"one:{sha256('one')}\n")
    file = KeysFile(path)
    seen = [in_force(file)]

    path.write_text(f"one:{sha256('one')}\ntwo:{sha256('two')}\n")
    file.look()
    seen.append(in_force(file))
    data.symlink_to("old")
    path.unlink()
    path.symlink_to("..data/keys")
    file.look()
    seen.append(in_force(file))
    (tmp_path / "..tmp").symlink_to("new")
    (tmp_path / "..tmp").rename(data)
    file.look()

    assert [*seen, in_force(file)] == [{"one"}, {"one", "two"}, {"two"}, {"three"}]


def test_a_broken_file_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is told once a fault, in the log and in a metric, until it is mended."""
    path = tmp_path / "keys"
    path.write_text(f"one:{sha256('one')}\n")
    file = KeysFile(path)
    shown = []
    for content in ("two:open-sesame", "two:open-sesame", None, f"two:{sha256('two')}"):
        if content is None:
            path.unlink()
        else:
            path.write_text(content)
        file.look()
        shown.append((in_force(file), metrics().keys_file_broken._value.get()))

    assert shown == [*[({"one"}, 1.0)] * 3, ({"two"}, 0.0)]
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR", "INFO", "INFO"]
    assert "line 1 is not" in caplog.text
    assert "open-sesame" not in caplog.text


def test_a_key_keeps_what_it_has_used_up(tmp_path: Path) -> None:
    """A change of another line does not fill its bucket."""
    content = f"one:{sha256('one')}:rate=0.001\n"
    (tmp_path / "keys").write_text(content)
    file = KeysFile(tmp_path / "keys")
    file.ring.let_in(file.ring.check("Bearer one"))
    (tmp_path / "keys").write_text(content + f"two:{sha256('two')}\n")
    file.look()

    assert in_force(file) == {"one", "two"}
    with pytest.raises(RateLimitedError):
        file.ring.let_in(file.ring.check("Bearer one"))


def test_workers_share_what_a_key_has_used_up(tmp_path: Path) -> None:
    """Through a file that only they may read, and whose name tells neither the key nor its hash."""
    keys = [Key("one", sha256("one"), Rate.parse("rate=0.001,burst=2")) for _ in range(2)]
    first, second = (KeyRing([key], shared=tmp_path) for key in keys)
    first.let_in(keys[0])
    second.let_in(keys[1])

    for ring, key in ((first, keys[0]), (second, keys[1])):
        with pytest.raises(RateLimitedError):
            ring.let_in(key)
    (file,) = tmp_path.iterdir()
    assert sha256("one")[:8] not in file.name
    assert file.stat().st_mode & 0o077 == 0


def test_a_folder_that_cannot_be_written_is_no_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each worker then counts for itself, and says so; a link that was planted is not followed."""
    key = Key("one", sha256("one"), Rate.parse("rate=0.001"))
    shared = tmp_path / "shared"
    shared.mkdir()
    KeyRing([key], shared=shared).let_in(key)
    (file,) = shared.iterdir()
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    key.bucket = None
    ring = KeyRing([key], shared=shared)
    ring.let_in(key)

    with pytest.raises(RateLimitedError):
        ring.let_in(key)
    assert not (tmp_path / "elsewhere").exists()
    assert "each worker counts a key's texts for itself" in caplog.text
