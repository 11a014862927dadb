"""scripts/start_rollout.py names an image, and Argo Rollouts does the rest."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import start_rollout
from tests.conftest import require_kubectl
from tests.kubernetes_api import Cluster, serve
from textclf.errors import RolloutError
from textclf.rollout.traffic import argo_rollout

OLD = "registry.example.com/textclf@sha256:" + "a" * 64
NEW = "registry.example.com/textclf@sha256:" + "b" * 64


class Terminal(io.StringIO):
    """Input of a person."""

    def isatty(self) -> bool:
        """Say that one is there."""
        return True


@pytest.fixture(params=["canary", "blueGreen"])
def cluster(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    """A rollout that the environment says how to reach."""
    require_kubectl()
    monkeypatch.setattr(argo_rollout, "_POLL_SECONDS", 0.01)
    monkeypatch.setenv("HOME", str(tmp_path))
    cluster = Cluster(image=OLD, steps=[{"setWeight": 5}, {"pause": {}}], strategy=request.param)
    with serve(cluster, tmp_path / "kubeconfig"):
        monkeypatch.setenv("KUBECONFIG_CONTENT", (tmp_path / "kubeconfig").read_text())
        yield cluster


def test_a_rollout_is_started_once(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    """The state that it is in then is printed; the second time there is nothing to do."""
    assert start_rollout.main([NEW, "--yes", "--json"]) == 0
    out, err = capsys.readouterr()
    assert start_rollout.main([NEW, "--yes"]) == 0

    assert cluster.writes == ["image b"]
    assert json.loads(out)["phase"] == "Paused"
    assert f"rollout textclf/textclf: {OLD} -> {NEW}" in err


def test_nothing_is_started_unasked(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by a dry run nor by a no."""
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))

    assert [start_rollout.main([NEW, "--dry-run"]), start_rollout.main([NEW])] == [0, 1]
    assert cluster.writes == []


def test_the_question_is_no_part_of_the_answer(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a person is asked is on stderr, so that stdout is JSON alone."""
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))

    assert start_rollout.main([NEW, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["phase"] == "Paused"
    assert "Start it? [y/N]" in err
    assert cluster.writes == ["image b"]


def test_nobody_can_be_asked(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there is no terminal, the error says to give --yes."""
    monkeypatch.setattr("sys.stdin", io.StringIO())

    assert start_rollout.main([NEW]) == RolloutError.exit_code
    assert "give --yes" in capsys.readouterr().err
    assert cluster.writes == []


def test_a_tag_is_refused() -> None:
    """What was approved is a digest."""
    with pytest.raises(SystemExit, match="2"):
        start_rollout.main(["registry.example.com/textclf:1"])


def test_a_cluster_out_of_reach_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is that of traffic, the message kubectl's."""
    require_kubectl()
    monkeypatch.setenv("KUBECONFIG_CONTENT", "no kubeconfig")

    assert start_rollout.main([NEW, "--yes"]) == 72
    assert "cannot get rollouts.argoproj.io textclf in namespace textclf" in capsys.readouterr().err
