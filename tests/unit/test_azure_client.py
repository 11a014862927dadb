"""Workers are started, answered, stopped and cleared away: real processes that misbehave."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.conftest import require
from textclf.azureml.client import SdkClient
from textclf.azureml.credentials import AzureCredentials
from textclf.azureml.environment import V1, V2, Sdk, lay_environment
from textclf.azureml.failures import Workspace
from textclf.azureml.supervision import StillRunningError, supervise
from textclf.errors import AccessError, DownloadError, ModelImportError, SourceNotFoundError
from textclf.termination import ending_on_sigterm

_SECRET = "PLANTED~secret"  # noqa: S105
_SECONDS = 60.0
_HEADER = '# /// script\n# requires-python = ">=3.11"\n# dependencies = []\n# ///\n'


def _worker(folder: Path, body: str) -> Sdk:
    """Write a worker that needs no package."""
    path = folder / "worker.py"
    path.write_text(_HEADER + body, "utf-8")
    return Sdk("tiny 1", path)


def _client(sdk: Sdk, timeout_seconds: float = _SECONDS) -> SdkClient:
    workspace = Workspace(name="ws", resource_group="rg", subscription_id="sub")
    credentials = AzureCredentials(tenant_id="t", client_id="c", client_secret=_SECRET)
    return SdkClient(sdk, workspace, credentials, timeout_seconds=timeout_seconds)


_SERVING = f"""
import os, sys
sys.path.append({str(Path(__file__).resolve().parents[2])!r})
from textclf.azureml.worker import Failure, looking_for, serve

def latest(request):
    print("noise on standard output")
    os.system("echo more of it")
    print(request["credentials"]["client_secret"], file=sys.stderr)
    if request["name"] == "fails":
        raise Failure("credentials", "AADSTS7000215")
    with looking_for("model"):
        if request["name"] == "crashes":
            raise KeyError(request["credentials"]["client_secret"])
    return {{key: request[key] for key in ("name", "version", "subscription_id", "workspace")}}

serve({{"latest": latest}})
"""


def test_an_answer_is_told_from_noise(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What an SDK prints mixes neither with its answer nor with our output."""
    found = _client(_worker(tmp_path, _SERVING)).latest("demo")

    assert found == {"name": "demo", "version": None, "subscription_id": "sub", "workspace": "ws"}
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("body", "name", "error", "said"),
    [
        (_SERVING, "fails", AccessError, "AADSTS7000215"),
        (_SERVING, "crashes", DownloadError, "tiny 1 failed on workspace ws in resource group rg"),
        (f"raise SystemExit({_SECRET!r})", "demo", DownloadError, "(exit code 1); its last words"),
        ("import os; os.abort()", "demo", DownloadError, "ended without an answer (exit code -6)"),
        ("print('{}')", "demo", DownloadError, "its last words: nothing"),
    ],
    ids=["failure", "crash in the SDK", "exit", "abort", "no answer"],
)
def test_what_goes_wrong_in_a_worker(
    body: str, name: str, error: type[ModelImportError], said: str, tmp_path: Path
) -> None:
    """The message says which SDK it was and what to do, without what was in its memory."""
    with pytest.raises(error) as caught:
        _client(_worker(tmp_path, body)).latest(name)

    assert said in str(caught.value)
    assert "PLANTED" not in str(caught.value)


_SLEEPING = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[1] if sys.argv[1:] else {fifo!r}, "w").write(str(child.pid))
time.sleep(600)
"""


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A pipe in which a worker tells which process it has started."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def _assert_gone(pid: int) -> None:
    """Wait for a process to end; a zombie has, whoever has to reap it."""
    status = Path(f"/proc/{pid}/status")
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        try:
            if "State:\tZ" in status.read_text("utf-8"):
                return
        except (FileNotFoundError, ProcessLookupError):
            return
    pytest.fail(f"process {pid} is still there")


def test_a_limit_ends_the_whole_group(tmp_path: Path, fifo: Path) -> None:
    """A worker that takes too long ends with all it has started; the message says the limit."""
    pids: list[int] = []
    reader = threading.Thread(target=lambda: pids.append(int(fifo.read_text("utf-8"))))
    reader.start()
    client = _client(_worker(tmp_path, _SLEEPING.format(fifo=str(fifo))), timeout_seconds=2)

    with pytest.raises(DownloadError, match=r"within 2 seconds .* --timeout-seconds"):
        client.latest("demo")

    reader.join(_SECONDS)
    _assert_gone(pids[0])
    assert client.remaining_seconds == 0


_IMPORTER = f"""
import sys
sys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r})
from textclf.azureml.supervision import supervise
from textclf.termination import ending_on_sigterm
try:
    with ending_on_sigterm():
        supervise(sys.argv[1:], timeout_seconds=600, doing="waiting")
finally:
    print("cleared away", flush=True)
"""


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, -signal.SIGINT)],
    ids=["SIGTERM", "SIGINT"],
)
def test_a_signal_ends_the_whole_group(number: int, code: int, tmp_path: Path, fifo: Path) -> None:
    """Whoever stops the importer stops what it has started, and it can clear away."""
    script = tmp_path / "sleeping.py"
    script.write_text(_SLEEPING.format(fifo=""), "utf-8")
    command = [sys.executable, "-c", _IMPORTER, sys.executable, str(script), str(fifo)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        pid = int(fifo.read_text("utf-8"))
        process.send_signal(number)
        output, _ = process.communicate(timeout=_SECONDS)

    assert (process.returncode, output) == (code, b"cleared away\n")
    _assert_gone(pid)


def test_a_worker_ends_with_its_importer(tmp_path: Path) -> None:
    """Where the importer had no time to end its worker, the worker notices."""
    body = _SERVING.replace('print("noise on standard output")', "import time; time.sleep(600)")
    worker = _worker(tmp_path, body).worker
    process = subprocess.Popen([sys.executable, worker], stdin=subprocess.PIPE)
    assert process.stdin
    process.stdin.write(b'{"action": "latest"}\n')
    process.stdin.close()  # as the kernel does when the importer is killed

    assert process.wait(_SECONDS) == 1


def test_a_program_that_does_not_read(tmp_path: Path) -> None:
    """A request that nobody wants is no error, and neither is any amount of output."""
    script = tmp_path / "loud.py"
    script.write_text("import sys\nsys.stdin.close()\nprint('x' * 5_000_000)", "utf-8")

    finished = supervise(
        [sys.executable, str(script)],
        timeout_seconds=_SECONDS,
        doing="waiting",
        request="y" * 1_000,
    )

    assert (finished.code, len(finished.output)) == (0, 5_000_001)


def test_no_secret_is_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may look at a program's environment does not see the service principal there."""
    monkeypatch.setenv("AZURE_CREDENTIALS", _SECRET)
    code = "import os; print(*os.environ.items(), 'PATH' in os.environ)"

    finished = supervise([sys.executable, "-c", code], timeout_seconds=_SECONDS, doing="waiting")

    assert finished.output.endswith(" True\n")
    assert _SECRET not in finished.output


def test_time_is_up_at_once() -> None:
    """Without any time left nothing goes on."""
    with pytest.raises(StillRunningError):
        supervise([sys.executable, "-c", "input()"], timeout_seconds=0, doing="waiting")


@pytest.mark.parametrize(
    ("handler", "taken_over"),
    [(signal.SIG_IGN, False), (signal.SIG_DFL, True), (lambda *_: None, True)],
    ids=["ignored", "default", "another's"],
)
def test_a_handler_is_given_back(handler: Any, taken_over: bool) -> None:
    """SIGTERM ends the program meanwhile, unless it is ignored on purpose."""
    before = signal.signal(signal.SIGTERM, handler)
    try:
        with ending_on_sigterm():
            assert (signal.getsignal(signal.SIGTERM) is not handler) == taken_over
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_environment_that_cannot_be_laid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has what uv says of it, and how to go on."""
    sdk = _worker(tmp_path, "")
    text = sdk.worker.read_text("utf-8").replace("[]", '["textclf-no-such-package==1"]')
    sdk.worker.write_text(text, "utf-8")
    monkeypatch.setenv("UV_OFFLINE", "1")

    with pytest.raises(DownloadError, match=r"environment of tiny 1: uv says: .*UV_DEFAULT_INDEX"):
        lay_environment(sdk)


def test_without_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no uv, it is said how to get it."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ModelImportError, match=r"there is no uv .* pip install uv"):
        lay_environment(V1)


@pytest.mark.parametrize("sdk", [V1, V2], ids=lambda sdk: sdk.label)
def test_every_package_is_pinned(sdk: Sdk) -> None:
    """What a worker's header pins, and what is in its environment, are the same packages."""
    block = re.search(r"# /// script\n(.*?)# ///", sdk.worker.read_text("utf-8"), re.DOTALL)
    assert block
    header = tomllib.loads(re.sub(r"^# ?", "", block[1], flags=re.MULTILINE))
    wanted = [Requirement(line) for line in header["dependencies"]]
    pins = {
        f"{pin.name}{pin.specifier}" for pin in wanted if not pin.marker or pin.marker.evaluate()
    }
    try:
        python = lay_environment(sdk)
    except DownloadError as exc:
        require(available=False, reason=str(exc))
    code = (
        "from importlib.metadata import distributions as d\nfor i in d(): print(i.name, i.version)"
    )
    listed = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)
    packages = (line.split() for line in listed.stdout.splitlines())
    held = {f"{re.sub('[-_.]+', '-', name).lower()}=={version}" for name, version in packages}

    assert held == pins
    assert sdk.label.replace(" ", "==") in pins
    assert f'"{sdk.label}"' in sdk.worker.read_text("utf-8")


@pytest.mark.parametrize("kind", ["workspace", "model", "files"])
def test_what_is_missing_is_not_found(kind: str, tmp_path: Path) -> None:
    """A 404 means what was looked for when it came."""
    body = _SERVING.replace(
        'with looking_for("model"):',
        f'with looking_for({kind!r}):\n        error = OSError("x")\n'
        "        error.status_code = 404\n        raise error",
    )
    with pytest.raises(SourceNotFoundError, match=f"{kind}.* in resource group rg"):
        _client(_worker(tmp_path, body)).latest("demo")
