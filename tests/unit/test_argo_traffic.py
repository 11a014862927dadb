"""Argo Rollouts is told by kubectl what to do, in an order that exposes nobody to a mistake."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require_kubectl
from tests.kubernetes_api import Cluster, serve
from textclf.errors import TrafficError
from textclf.rollout.traffic import Traffic, Weights, argo_rollout
from textclf.rollout.traffic.argo import ArgoTraffic
from textclf.rollout.traffic.argo_rollout import ArgoRollout

STABLE = "registry.example.com/textclf@sha256:" + "a" * 64
CANDIDATE = "registry.example.com/textclf@sha256:" + "b" * 64
OTHER = "registry.example.com/textclf@sha256:" + "c" * 64
OF_THE_MANIFEST: list[dict[str, Any]] = [{"setWeight": 5}, {"analysis": {}}, {"pause": {}}]

Engine = Callable[..., ArgoTraffic]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A rollout whose stable image has all traffic."""
    require_kubectl()
    monkeypatch.setattr(argo_rollout, "_POLL_SECONDS", 0.01)
    monkeypatch.setenv("HOME", str(tmp_path))  # where kubectl keeps what it knows of a server
    cluster = Cluster(image=STABLE, steps=OF_THE_MANIFEST)
    with serve(cluster, tmp_path / "kubeconfig"):
        yield cluster


@pytest.fixture
def engine(cluster: Cluster, tmp_path: Path) -> Engine:
    """Build the engine."""
    assert cluster.url

    def build(seconds: float = 30.0, **names: str) -> ArgoTraffic:
        rollout = ArgoRollout(kubeconfig=tmp_path / "kubeconfig", timeout_seconds=seconds, **names)
        return ArgoTraffic(rollout, stable=STABLE, candidate=CANDIDATE)

    return build


def percent(traffic: Traffic) -> int:
    """Return the candidate's share."""
    return traffic.read().candidate_percent


def test_shares_grow_up_to_the_promotion(cluster: Cluster, engine: Engine) -> None:
    """Each share is a step that never ends, and all traffic a step with nothing after it."""
    traffic = engine()
    shares = [percent(traffic)]
    for weight in (5, 20, 20, 100):
        traffic.move(Weights(candidate_percent=weight))
        shares.append(percent(traffic))

    assert shares == [0, 5, 20, 20, 100]
    assert cluster.writes == [
        'steps [{"setWeight": 5}, {"pause": {}}]',
        "image b",
        'steps [{"setWeight": 20}, {"pause": {}}]',
        'steps [{"setWeight": 100}]',
    ]


@pytest.mark.parametrize(
    ("weight", "writes"),
    [(20, ["image a"]), (100, ["image a"])],
    ids=["from a share", "from a promotion"],
)
def test_going_back_sets_the_stable_image(
    cluster: Cluster, engine: Engine, weight: int, writes: list[str]
) -> None:
    """Nothing is written that could send more to the candidate on the way."""
    engine().move(Weights(candidate_percent=weight))
    cluster.writes.clear()

    engine().move(Weights())

    assert (percent(engine()), cluster.writes) == (0, writes)


def test_going_back_from_another_promotion_takes_no_steps(cluster: Cluster, engine: Engine) -> None:
    """A candidate that the manifest's steps promoted is left at once too."""
    cluster.steps = [{"setWeight": 5}, {"setWeight": 50}]
    cluster.promote(CANDIDATE)
    assert percent(engine()) == 100
    cluster.writes.clear()

    engine().move(Weights())

    assert percent(engine()) == 0
    assert cluster.writes == ['steps [{"setWeight": 100}]', "image a"]


def test_a_candidate_that_does_not_start_is_undone(cluster: Cluster, engine: Engine) -> None:
    """Argo Rollouts' own words are passed on, and image and steps are as they were."""
    cluster.broken.add(CANDIDATE)

    with pytest.raises(TrafficError, match="ProgressDeadlineExceeded"):
        engine().move(Weights(candidate_percent=5))

    assert (cluster.image, cluster.steps) == (STABLE, OF_THE_MANIFEST)
    assert percent(engine()) == 0


def test_nothing_is_believed_that_argo_has_not_seen(cluster: Cluster, engine: Engine) -> None:
    """While its controller is down there is no answer, rather than an old one."""
    engine().move(Weights(candidate_percent=5))
    cluster.asleep = True

    with pytest.raises(TrafficError, match=r"5 s; it is Paused.*describe rollout textclf"):
        engine(0.5).move(Weights(candidate_percent=50))
    cluster.asleep = False

    assert percent(engine()) == 5


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (Weights(candidate_percent=5, baseline_percent=5), "no baseline and no mirror"),
        (Weights(mirror_percent=5), "no baseline and no mirror"),
        (Weights(candidate_percent=50), "a part of it cannot"),
    ],
    ids=["baseline", "mirror", "part of a promotion"],
)
def test_what_argo_cannot_do_is_refused(
    cluster: Cluster, engine: Engine, weights: Weights, said: str
) -> None:
    """Nothing is written then."""
    engine().move(Weights(candidate_percent=100))
    cluster.writes.clear()

    with pytest.raises(TrafficError, match=said):
        engine().move(weights)

    assert cluster.writes == []


def test_other_strategies_are_not_driven(cluster: Cluster, engine: Engine) -> None:
    """Blue-green has no shares."""
    cluster.strategy = "blueGreen"

    with pytest.raises(TrafficError, match="is no canary with a traffic router"):
        engine().read()


def test_another_image_is_not_ours(cluster: Cluster, engine: Engine) -> None:
    """A rollout of something else is named, not touched."""
    cluster.image = OTHER

    with pytest.raises(TrafficError, match="c, which is no version of this rollout"):
        engine().read()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"name": "missing"}, "cannot get rollouts.argoproj.io missing in namespace textclf: .*no"),
        ({"program": "no-kubectl"}, "there is no program no-kubectl; install kubectl"),
        ({"container": "other"}, "has no 'other' that can be read"),
    ],
    ids=["no rollout", "no kubectl", "no container"],
)
def test_what_kubectl_says_is_passed_on(engine: Engine, names: dict[str, str], said: str) -> None:
    """Every failure names its object."""
    with pytest.raises(TrafficError, match=said):
        engine(**names).read()


@pytest.mark.parametrize(
    ("stable", "candidate", "said"),
    [
        ("textclf:1", CANDIDATE, "textclf:1 does not name an image by digest"),
        (STABLE, "textclf@sha256:1", "does not name an image by digest"),
        (STABLE, STABLE, "is both versions"),
    ],
)
def test_images_are_two_digests(stable: str, candidate: str, said: str) -> None:
    """A tag may be another image tomorrow."""
    with pytest.raises(TrafficError, match=said):
        ArgoTraffic(ArgoRollout(), stable=stable, candidate=candidate)
