"""Imports that die, that cannot write, and that meet each other: real processes, real disks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import bentoml
import pytest

from scripts.import_model import main
from tests.conftest import require, use_store
from textclf.artifact import read_artifact

PROJECT = Path(__file__).resolve().parents[2]
SECONDS = 60

# Runs the script, but stops before one of the store's steps until standard input ends.
_STOPPING = """
import signal, sys
from scripts.import_model import main
from textclf.store import committing

def stop(*arguments):
    print("stopped", flush=True)
    sys.stdin.read()
    return step(*arguments)

signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the tests were started with
if sys.argv[1]:
    step = getattr(committing, sys.argv[1])
    setattr(committing, sys.argv[1], stop)
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture
def start(bentoml_home: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the script in the store of the test; ``stop_before`` names a step to stop at."""
    running: list[subprocess.Popen[str]] = []

    def _start(
        *arguments: str | Path, stop_before: str = "", home: Path = bentoml_home
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", _STOPPING, stop_before, *map(str, arguments)],
            cwd=PROJECT,
            env=os.environ | {"BENTOML_HOME": str(home), "TMPDIR": str(tmp_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield _start
    for process in running:
        process.kill()
        process.communicate()


def _finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=SECONDS)
    return process.returncode, output, errors


def _tags() -> list[str]:
    return [str(model.tag) for model in bentoml.models.list()]


def _staged(home: Path) -> list[str]:
    return [entry.name for entry in (home / ".models-staging").iterdir() if entry.name != "lock"]


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)],
    ids=["SIGINT", "SIGTERM", "SIGKILL"],
)
def test_stopped_while_it_reads(
    number: int,
    code: int,
    start: Callable[..., subprocess.Popen[str]],
    classifier_folder: Path,
    tmp_path: Path,
) -> None:
    """A signal before anything is staged leaves no trace, and the next run succeeds."""
    texts = tmp_path / "texts"
    os.mkfifo(texts)
    process = start("local", classifier_folder / "model.onnx", "--golden-texts", texts)
    with texts.open("w"):  # opens once the script reads
        process.send_signal(number)
        returned, output, errors = _finish(process)

    assert (returned, output) == (code, "")
    assert "Traceback" not in errors
    assert ("interrupted: nothing was written" in errors) == (number == signal.SIGINT)
    assert _tags() == []
    assert list(tmp_path.glob("textclf-*")) == [] or number == signal.SIGKILL
    assert main(["local", str(classifier_folder)]) == 0
    assert _tags() == ["sentiment:tiny-1"]


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, "interrupted: nothing was written to the model store\n"),
        (signal.SIGTERM, 143, ""),
    ],
    ids=["SIGINT", "SIGTERM"],
)
def test_interrupted_while_it_stages(  # noqa: PLR0913, PLR0917
    number: int,
    code: int,
    said: str,
    start: Callable[..., subprocess.Popen[str]],
    classifier_folder: Path,
    bentoml_home: Path,
) -> None:
    """Ctrl-C and SIGTERM remove what was staged."""
    process = start("local", classifier_folder, stop_before="_write_model_yaml")
    assert process.stdout
    assert process.stdout.readline() == "stopped\n"
    assert _staged(bentoml_home) == ["tiny-1"]

    process.send_signal(number)
    returned, _, errors = _finish(process)

    assert returned == code
    assert errors.endswith(f"golden texts\n{said}")
    assert (_tags(), _staged(bentoml_home)) == ([], [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_too_late(
    number: int, start: Callable[..., subprocess.Popen[str]], classifier_folder: Path
) -> None:
    """Once the model goes in, neither signal turns a success into half of one."""
    process = start("local", classifier_folder, stop_before="_publish")
    assert process.stdout
    assert process.stdout.readline() == "stopped\n"

    process.send_signal(number)
    code, output, _ = _finish(process)

    assert (code, output) == (0, "imported sentiment:tiny-1\n")
    assert _tags() == ["sentiment:tiny-1"]


@pytest.mark.parametrize(
    ("step", "tags"),
    [
        ("_write_model_yaml", ["sentiment:tiny-0"]),
        ("_publish", ["sentiment:tiny-0"]),
        ("_point_latest", ["sentiment:tiny-0", "sentiment:tiny-1"]),
    ],
    ids=["half staged", "staged", "before latest"],
)
def test_killed_while_it_writes(
    step: str,
    tags: list[str],
    start: Callable[..., subprocess.Popen[str]],
    classifier_folder: Path,
    bentoml_home: Path,
) -> None:
    """Whenever SIGKILL comes, each listed model is whole, and the next run makes all good."""
    assert main(["local", str(classifier_folder), "--version", "0"]) == 0
    process = start("local", classifier_folder, stop_before=step)
    assert process.stdout
    assert process.stdout.readline() == "stopped\n"
    process.kill()
    _finish(process)

    assert _tags() == tags
    for model in bentoml.models.list():
        read_artifact(Path(model.path))
    assert str(bentoml.models.get("sentiment:latest").tag) == "sentiment:tiny-0"

    assert main(["local", str(classifier_folder)]) == 0
    assert _tags() == ["sentiment:tiny-0", "sentiment:tiny-1"]
    assert str(bentoml.models.get("sentiment:latest").tag) == "sentiment:tiny-1"
    assert _staged(bentoml_home) == []


def test_two_imports_at_once(
    start: Callable[..., subprocess.Popen[str]], classifier_folder: Path, bentoml_home: Path
) -> None:
    """They wait for their turn; one imports the model, the other finds it there."""
    staging = bentoml_home / ".models-staging"
    staging.mkdir()
    with (staging / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        processes = [start("local", classifier_folder) for _ in range(2)]
        for process in processes:
            assert process.stderr
            while "waiting for another import" not in process.stderr.readline():
                assert process.poll() is None
    results = [_finish(process)[:2] for process in processes]

    assert sorted(results) == [
        (0, "imported sentiment:tiny-1\n"),
        (0, "sentiment:tiny-1 is already there\n"),
    ]
    assert _tags() == ["sentiment:tiny-1"]


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """Mount an empty disk at ``folder``."""
    require(shutil.which("mount") is not None, "there is no mount command")
    options = f"size=4m,uid={os.getuid()}"
    mounted = _as_root("mount", "-t", "tmpfs", "-o", options, "textclf-test", str(folder))
    require(mounted.returncode == 0, f"no disk can be mounted: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        _as_root("umount", "--lazy", str(folder)).check_returncode()


def _remount(folder: Path, options: str) -> None:
    _as_root("mount", "-o", f"remount,{options}", str(folder)).check_returncode()


def _as_root(*command: str) -> subprocess.CompletedProcess[str]:
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    try:
        return subprocess.run([*prefix, *command], capture_output=True, text=True, check=False)
    except FileNotFoundError as exc:  # no sudo
        return subprocess.CompletedProcess(command, 1, "", str(exc))


@pytest.mark.parametrize(
    ("full", "relieved"),
    [("size=128k", "size=4m"), ("nr_inodes=7,size=4m", "nr_inodes=100,size=4m"), ("ro", "rw")],
    ids=["no space before it starts", "no space half-way", "read-only"],
)
def test_disk_that_cannot_be_written(
    full: str,
    relieved: str,
    classifier_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The message names the store and the bytes needed; nothing is left, and relief is enough."""
    held = [path for path in classifier_folder.iterdir() if path.name != "model.yaml"]
    needed = sum(path.stat().st_size for path in held)
    home = tmp_path / "disk"
    home.mkdir()
    with _disk(home), use_store(home):
        if "128k" in full:
            (home / "filler").write_bytes(b"0" * 80_000)
        _remount(home, full)

        assert main(["local", str(classifier_folder)]) == 26

        errors = capsys.readouterr().err
        assert f"error: cannot write sentiment:tiny-1 to {home / 'models'}: " in errors
        assert f"{needed:,} bytes are needed there" in errors
        assert not list(home.glob("models/*")) + list(home.glob(".models-staging/tiny*"))
        _remount(home, relieved)
        assert main(["local", str(classifier_folder)]) == 0
        assert _tags() == ["sentiment:tiny-1"]


def test_store_on_a_disk_of_its_own(
    classifier_folder: Path, bentoml_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a rename there is no all or nothing, so it is refused."""
    with _disk(bentoml_home / "models"):
        assert main(["local", str(classifier_folder)]) == 26

        assert "it is another filesystem than" in capsys.readouterr().err
        assert not list((bentoml_home / "models").iterdir())


def test_home_that_is_a_file(
    start: Callable[..., subprocess.Popen[str]], classifier_folder: Path, tmp_path: Path
) -> None:
    """The message names the file that stands where the store should be."""
    home = tmp_path / "home"
    home.touch()

    code, _, errors = _finish(start("local", classifier_folder, home=home))

    assert code == 26
    assert f"{home} is not a directory" in errors
    assert "set BENTOML_HOME to a folder that can be written" in errors
