"""Which rollout a command line means: the one under way, another, or none that may go on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from scripts import rollout
from scripts._rollout_arguments import parse, render
from scripts._rollout_setup import begin_asked
from tests.unit.rollout_world import BLUEGREEN, World, run
from textclf.errors import RolloutError, RolloutStateError
from textclf.rollout.engines import load_engine
from textclf.rollout.preflight import find_unready
from textclf.rollout.state import Intent
from textclf.rollout.store import Store
from textclf.rollout.traffic.traffic import Weights

DIGESTS = [f"registry.example.com/textclf@sha256:{letter * 64}" for letter in "ab"]
URLS = ("--stable-url=http://127.0.0.1:9", "--candidate-url=http://127.0.0.1:9")
AZURE = ("--endpoint=sentiment", "--workspace=w", "--resource-group=g", *URLS)
LINES = {
    "nginx": ("--stable=http://127.0.0.1:9/s", "--candidate=http://127.0.0.1:9/c"),
    "azureml": ("--stable=blue", "--candidate=green", *AZURE),
    "azureml-v2": ("--stable=blue", "--candidate=green", *AZURE),
    "argo": (f"--stable={DIGESTS[0]}", f"--candidate={DIGESTS[1]}", *URLS),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that a person is in."""
    monkeypatch.delenv("AZURE_CREDENTIALS", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def line(engine: str, *more: str) -> list[str]:
    """Return a command line."""
    return ["bluegreen", f"--traffic={engine}", *LINES[engine], *more]


def leave(*words: str) -> None:
    """Leave a rollout under way, past its preflight."""
    arguments = parse(words)
    store = Store(arguments.state)
    state = begin_asked(store, arguments, load_engine(arguments.traffic).build(arguments))
    store.save(state.model_copy(update={"position": 1, "weights": Weights(candidate_percent=20)}))


@pytest.mark.parametrize("engine", LINES)
def test_the_same_command_goes_on(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is asked whether to go on, and no difference is found; its time limits may be others."""
    leave(*line(engine))
    limit = {"nginx": "--nginx-program=/bin/nginx", "argo": "--argo-timeout-seconds=9"}

    code = rollout.main(line(engine, limit.get(engine, "--timeout-seconds=9")))

    assert code == RolloutError.exit_code
    assert "nobody can be asked" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("engine", "more", "said"),
    [
        ("nginx", "--candidate-digest=sha256:b", "digest of the candidate version sha256:b, not"),
        ("nginx", "--stable-digest=sha256:b", "digest of the stable version sha256:b, not none"),
        ("nginx", "--candidate-url=http://127.0.0.1:8", "URL of the candidate version http://127"),
        ("nginx", "--baseline=http://127.0.0.1:8", "baseline http://127.0.0.1:8, not none"),
        ("nginx", "--nginx-folder=other", "/other, not"),
        ("nginx", "--prometheus=http://p", "--prometheus http://p, not none"),
        ("nginx", "--recorder=http://127.0.0.1:8", "--recorder http://127.0.0.1:8, not none"),
        ("nginx", "--model=a:1", "--model a:1, not none"),
        ("azureml", "--endpoint=other", "--endpoint other, not sentiment"),
        ("azureml-v2", "--endpoint=other", "--endpoint other, not sentiment"),
        ("azureml-v2", "--workspace=other", "--workspace other, not w"),
        ("azureml-v2", "--subscription-id=other", "--subscription-id other, not none"),
        ("azureml-v2", "--candidate=grey", "candidate grey, not green"),
        ("argo", "--namespace=other", "--namespace other, not textclf"),
        ("argo", "--rollout-name=other", "--rollout-name other, not textclf"),
        ("argo", "--kubeconfig=other", "--kubeconfig /"),
    ],
)
def test_another_rollout_does_not_go_on(
    engine: str, more: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever makes it another one is told, and nothing is done."""
    leave(*line(engine))

    code = rollout.main(line(engine, more, "--yes", "--new"))

    assert code == RolloutStateError.exit_code
    error = capsys.readouterr().err
    assert said in error
    assert "under way: end it with `abort`" in error


def test_an_endpoint_of_another_subscription(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Credentials that say where an endpoint is are part of what a rollout is."""
    leave(*line("azureml-v2", "--subscription-id=one"))
    keys = '"tenantId": "t", "clientId": "c", "clientSecret": "s"'
    monkeypatch.setenv("AZURE_CREDENTIALS", f'{{{keys}, "subscriptionId": "two"}}')

    assert rollout.main(line("azureml-v2", "--yes")) == RolloutStateError.exit_code
    assert "--subscription-id two, not one" in capsys.readouterr().err


def test_another_strategy_or_plan(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both are told; without --plan it keeps the plan that it has."""
    for name, seconds in (("a", 7), ("b", 8)):
        plan = f"strategy: bluegreen\nsteps: [{{weight_percent: 100}}]\nlook_seconds: {seconds}\n"
        (folder / f"{name}.yaml").write_text(plan, "utf-8")
    leave(*line("nginx", "--plan=a.yaml"))

    ours = rollout.main(line("nginx"))
    other = rollout.main(line("nginx", "--plan=b.yaml"))
    canary = rollout.main(["canary", *line("nginx")[1:]])

    assert [ours, other, canary] == [RolloutError.exit_code, *2 * [RolloutStateError.exit_code]]
    error = capsys.readouterr().err
    assert "here it is another plan." in error
    assert "here it is strategy canary, not bluegreen." in error


def test_a_rollout_that_has_ended_is_no_success(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job for the next image that finds the last one's end fails, until it says --new."""
    state = run(World(), BLUEGREEN, folder / "state")
    assert state.outcome == "promoted"

    code = rollout.main(line("nginx", "--state=state", "--yes"))
    out, err = capsys.readouterr()
    new = rollout.main(line("nginx", "--state=state", "--new"))

    assert (code, out) == (RolloutStateError.exit_code, "")
    assert "has ended: promoted; nothing was done now. Add --new" in err
    assert new == RolloutError.exit_code
    assert "Begin this" not in err
    assert Store(folder / "state").load() == state  # until somebody has said yes


def test_what_is_on_its_way_back_has_not_ended(folder: Path) -> None:
    """An abort after the promotion that was cut short goes on, whatever the command says of new."""
    ended = run(World(), BLUEGREEN, folder / "state")
    back = Intent(weights=Weights(), position=1, outcome="rolled back", reason="asked")
    Store(folder / "state").save(ended.model_copy(update={"intent": back}))

    code = rollout.main(line("nginx", "--state=state", "--new"))

    assert code == RolloutStateError.exit_code


def test_a_candidate_that_was_refused_gives_way(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was moved for it, so that the repaired image needs no abort first."""
    words = line("nginx", "--candidate-digest=sha256:a")
    leave(*words)
    store = Store(parse(words).state)
    state = store.load()
    assert state
    store.save(state.model_copy(update={"position": 0, "weights": Weights()}))

    code = rollout.main(line("nginx", "--candidate-digest=sha256:b"))

    assert code == RolloutError.exit_code
    assert "nobody can be asked" in capsys.readouterr().err


class _Version(BaseHTTPRequestHandler):
    model = "a:1"

    def do_GET(self) -> None:
        """Answer as a service that is ready."""
        self.send_response(200)
        self.send_header("X-Model", self.model)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def candidate(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of a version whose model is another in a moment."""
    monkeypatch.setattr(_Version, "model", "a:1")
    with HTTPServer(("127.0.0.1", 0), _Version) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_another_model_behind_the_same_url(
    candidate: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was seen of one model is no evidence for another, before a resume and while it runs."""
    words = ["bluegreen", "--stable=http://127.0.0.1:9", f"--candidate={candidate}"]
    leave(*words)
    same = rollout.main(words)
    ready = find_unready(candidate, "a:1")
    monkeypatch.setattr(_Version, "model", "b:2")

    assert (same, ready) == (RolloutError.exit_code, "")
    assert rollout.main(words) == RolloutStateError.exit_code
    assert "model of the candidate version b:2, not a:1" in capsys.readouterr().err
    assert find_unready(candidate, "a:1") == "it serves b:2 now, not a:1"


@pytest.mark.parametrize("engine", LINES)
def test_a_command_line_means_the_same_elsewhere(
    engine: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is stored for `abort` names the same files from any folder."""
    words = line(engine, "--plan=rollout.yaml", "--model=models/a", "--labels=known", "--yes")
    kept = render(parse(words))
    monkeypatch.chdir("/")

    elsewhere = parse(kept)

    assert elsewhere.state == folder / ".rollout"
    assert (elsewhere.plan, elsewhere.labels) == (folder / "rollout.yaml", folder / "known")
    assert (elsewhere.model, elsewhere.yes) == (str(folder / "models" / "a"), False)
    assert getattr(elsewhere, "nginx_folder", folder / ".nginx") == folder / ".nginx"
    assert render(elsewhere) == kept
