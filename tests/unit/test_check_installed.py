"""What is installed, read from what installers leave behind."""

from __future__ import annotations

import base64
import hashlib

import pytest

from tests.http.serving import PROJECT
from textclf.image.checks.installed import (
    find_distributions,
    read_pins,
    recorded_files,
    source_of,
)
from textclf.image.checks.layers import Entry

SITE = "app/.venv/lib/python3.11/site-packages"


def record(content: str) -> dict[str, Entry]:
    """Return the files of an image that has one distribution."""
    path = f"{SITE}/Some_Thing-1.0.dist-info/RECORD"
    file = Entry(path=path, kind="file", mode=0o644, uid=0, gid=0, content=content.encode())
    return {path: file, "etc/RECORD": file}


def test_distributions_are_read_from_their_records() -> None:
    """Names are normalised, paths lead out of site-packages, and hashes become hexadecimal."""
    digest = hashlib.sha256(b"x")
    encoded = base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()

    (found,) = find_distributions(
        record(f'"some, thing.py",sha256={encoded},1\n../../../bin/thing,,\n')
    )

    assert (found.name, found.version, found.python) == ("some-thing", "1.0", "3.11")
    assert recorded_files([found]) == {
        f"{SITE}/some, thing.py": digest.hexdigest(),
        "app/.venv/bin/thing": "",
    }


def test_pins_are_those_of_the_machine() -> None:
    """Markers for other systems, interpreters and processors leave a pin out."""
    lock = """
    # a comment
    one==1.0 \\
        --hash=sha256:00 \\
        --hash=sha256:11
        # via two
    Two.x==2 ; sys_platform == 'linux' and platform_machine == 'aarch64' \\
        --hash=sha256:00
    three==3 ; sys_platform == 'win32'
    four==4 ; python_full_version >= '3.12'
    """

    assert read_pins(lock, python="3.11", architecture="arm64") == {"one": "1.0", "two-x": "2"}
    assert read_pins(lock, python="3.12", architecture="amd64") == {"one": "1.0", "four": "4"}


def test_the_lock_of_the_project_is_read() -> None:
    """Each of its pins is one exact version."""
    lock = (PROJECT / "requirements" / "serving.txt").read_text("utf-8")

    pins = read_pins(lock, python="3.11", architecture="amd64")

    assert pins["bentoml"] == "1.4.39"
    assert "colorama" not in pins
    assert all(version[0].isdigit() for version in pins.values())


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("a/__pycache__/b.cpython-311.pyc", "a/b.py"),
        ("a/__pycache__/b.cpython-311.opt-1.pyc", "a/b.py"),
        ("a/b.py", "a/b.py"),
        ("a/b.pyc", "a/b.pyc"),
    ],
)
def test_source_of(path: str, source: str) -> None:
    """Compiled code stands and falls with its source."""
    assert source_of(path) == source
