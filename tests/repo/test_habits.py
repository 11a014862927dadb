"""The Makefile and the hooks, in a fresh clone."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.http.serving import PROJECT
from tests.repo.conftest import visitor_environment


def run(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a clone as a visitor would."""
    return subprocess.run(
        command,
        cwd=folder,
        env=visitor_environment() | variables,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def make_bin(folder: Path, *names: str) -> str:
    """Return a PATH that has these programs and no other."""
    folder.mkdir()
    for name in names:
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    return str(folder)


def test_every_target_is_described() -> None:
    """`make` alone lists each target of the Makefile, and CONTRIBUTING.md each but itself."""
    makefile = (PROJECT / "Makefile").read_text()
    phony = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split()
    listed = re.findall(r"^make ([a-z-]+) +\S", run(PROJECT, "make").stdout, re.MULTILINE)
    contributing = (PROJECT / "CONTRIBUTING.md").read_text()
    documented = re.findall(r"^\| `make ([a-z-]+)` \|", contributing, re.MULTILINE)

    assert listed == phony
    assert ["help", *documented] == phony


@pytest.mark.parametrize("changed", ["requirements/dev.txt", "pyproject.toml"])
def test_the_environment_is_laid_again_exactly_when_it_is_stale(clone: Path, changed: str) -> None:
    """A change of the lock or of pyproject.toml makes it stale; nothing else does."""
    run(clone, "make", "environment")
    run(clone, "touch", "README.md", "requirements/serving.txt", "textclf/errors.py")
    assert run(clone, "make", "--question", "environment").returncode == 0

    run(clone, "touch", changed)
    assert run(clone, "make", "--question", "environment").returncode == 1


def test_a_missing_python_is_named_in_one_line(origin: Path, tmp_path: Path) -> None:
    """Without uv and a Python that suits, `make` says what to install and stops."""
    path = make_bin(tmp_path / "bin", "bash", "make")
    outdated = Path(path) / "python3"
    outdated.write_text("#!/bin/sh\nexit 1\n")
    outdated.chmod(0o755)
    result = run(origin, "make", "environment", PATH=path)
    first, *rest = result.stdout.splitlines()

    assert result.returncode
    assert first == "Python 3.11 or newer with venv is missing (Debian: python3, python3-venv)"
    assert [line for line in rest if not line.startswith("make: ***")] == []


def test_the_azure_demo(clone: Path, tmp_path: Path) -> None:
    """It registers, imports, serves and asks, tells no secret, and leaves nothing behind."""
    shown = run(clone, "make", "azure-demo", TMPDIR=str(tmp_path))

    assert shown.returncode == 0, shown.stdout
    commands = re.findall(r"^\$ (\S+)", shown.stdout, re.MULTILINE)
    assert commands == ["cat", "python", "scripts/import_model.py", "bentoml", "curl"]
    assert "\nroberta-sequence:1\n" in shown.stdout
    assert "\nimported sentiment:roberta-sequence-1\n" in shown.stdout
    assert re.fullmatch(r'{"positive":(true|false)}', shown.stdout.splitlines()[-1])
    assert "PLANTED" not in shown.stdout
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []
    assert working_in(clone) == []


def test_the_time_of_the_azure_tests_is_told() -> None:
    """Whoever ran tests against Azure ML's stand-in reads how many, and how long they took."""
    one = "tests/azure/test_standin.py::test_a_signature_for_reading_does_not_write"
    shown = run(PROJECT, sys.executable, "-m", "pytest", "-q", one)

    assert shown.returncode == 0, shown.stdout
    assert re.search(r"^Azure tests: 1 tests, \d+ s$", shown.stdout, re.MULTILINE)


def working_in(folder: Path) -> list[str]:
    """Return the command lines of the processes whose working directory a folder is."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            if (process / "cwd").resolve(strict=True) == folder:
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


def test_a_commit_runs_the_hooks(clone: Path) -> None:
    """After `make hooks` a sound change is committed, a flawed one and a stray graph are not."""
    hooks = run(clone, "make", "hooks")
    (clone / "note.md").write_text("A note.\n")
    sound = commit(clone, "note.md")
    (clone / "note.md").write_text("A note with a trailing space. \n")
    flawed = commit(clone, "note.md")
    (clone / "stray.onnx").write_bytes(b"weights")
    stray = commit(clone, "note.md", "stray.onnx")

    assert (hooks.returncode, sound.returncode) == (0, 0), hooks.stdout + sound.stdout
    assert (flawed.returncode, stray.returncode) == (1, 1), flawed.stdout + stray.stdout
    assert re.search(r"trailing whitespace\.+Failed", flawed.stdout)
    assert re.search(r"refuse graphs outside models/reference\.+Failed", stray.stdout)


def commit(folder: Path, *paths: str) -> subprocess.CompletedProcess[str]:
    """Commit these files, ignored ones too."""
    run(folder, "git", "add", "--force", *paths)
    return run(
        folder, "git", "commit", "--message=note", PRE_COMMIT_HOME=os.fspath(folder.parent / "pc")
    )
