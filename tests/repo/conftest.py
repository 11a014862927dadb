"""Fresh clones of this checkout, for what only shows in one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.http.serving import PROJECT

_THIS_RUN = ("BENTOML_", "COVERAGE_", "GIT_", "MAKE", "MFLAGS", "PYTEST_", "TEXTCLF_", "VIRTUAL_")


def visitor_environment() -> dict[str, str]:
    """Return the environment of someone who just opened a terminal."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(_THIS_RUN)
    }
    paths = os.environ["PATH"].split(os.pathsep)
    environment["PATH"] = os.pathsep.join(p for p in paths if Path(p) != PROJECT / ".venv" / "bin")
    environment["GIT_CONFIG_GLOBAL"] = os.devnull
    for role in ("AUTHOR", "COMMITTER"):
        environment[f"GIT_{role}_NAME"] = "visitor"
        environment[f"GIT_{role}_EMAIL"] = "visitor@example.com"
    return environment


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Commit this checkout, uncommitted changes included, to a repository that can be cloned."""
    origin = tmp_path_factory.mktemp("origin") / "textclf"
    listing = _git(PROJECT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listing.split("\0")):
        if (PROJECT / name).is_file():  # it may be deleted and not committed yet
            (origin / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, origin / name)
    _git(origin, "init", "--quiet", "--initial-branch=main")
    _git(origin, "add", "--all")
    _git(origin, "commit", "--quiet", "--message=as it stands")
    return origin


@pytest.fixture(scope="session")
def clone(origin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clone the checkout and lay its environment."""
    clone = tmp_path_factory.mktemp("clone") / "textclf"
    _git(origin, "clone", "--quiet", str(origin), str(clone))
    subprocess.run(["make", "environment"], cwd=clone, env=visitor_environment(), check=True)
    return clone


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=visitor_environment(),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
