"""The locks: complete, of one mind, and free of addresses."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable

import pytest

from tests.http.serving import PROJECT

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
LOCKS = {path.stem: path.read_text() for path in (PROJECT / "requirements").glob("*.txt")}
PIN = re.compile(
    r"^([a-z0-9.-]+)==(\S+)(?: ; [^\\]+)?((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", re.MULTILINE
)


def pins(lock: str) -> dict[str, str]:
    """Return the version of each package in a lock; there is one for every Python."""
    found = [(name, version) for name, version, _ in PIN.findall(LOCKS[lock])]
    assert len(dict(found)) == len(found)
    return dict(found)


def wanted(group: str) -> Iterable[str]:
    """Return the names of the packages in a group, those of included groups too."""
    for entry in PYPROJECT["dependency-groups"][group]:
        if isinstance(entry, dict):
            yield from wanted(entry["include-group"])
        else:
            yield _name(entry)


def _name(requirement: str) -> str:
    match = re.match(r"[\w.-]+", requirement)
    assert match
    return match[0].lower().replace("_", "-")


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes(lock: str) -> None:
    """A lock is pins with their hashes and comments; it names no index and no address."""
    rest = re.sub(r"^ +#.*$", "", PIN.sub("", LOCKS[lock]), flags=re.MULTILINE)

    assert pins(lock)
    assert rest.strip() == ""
    assert "://" not in LOCKS[lock]


def test_everything_wanted_is_locked() -> None:
    """A dependency that is added to pyproject.toml is in its lock; run make lock."""
    serving = {_name(requirement) for requirement in PYPROJECT["project"]["dependencies"]}

    assert serving <= pins("serving").keys()
    assert set(wanted("dev")) <= pins("dev").keys()
    assert set(wanted("rollout")) <= pins("rollout").keys()
    assert set(wanted("uv")) == pins("uv").keys()


@pytest.mark.parametrize("lock", ["serving", "rollout"])
def test_what_is_tested_is_what_runs(lock: str) -> None:
    """Each package of an image has the same version in the development lock."""
    assert pins(lock).items() <= pins("dev").items()
