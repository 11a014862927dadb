"""Traffic of an AksEndpoint, moved by the genuine SDK v1 in a stand-in of a workspace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scripts._rollout_arguments import parse
from scripts.rollout import main
from tests.azure.endpoints import KubernetesEndpoint
from tests.azure.standin import AzureStandIn
from textclf.errors import TrafficError
from textclf.rollout.traffic import Traffic, Weights
from textclf.rollout.traffic.azureml import AksEndpointTraffic, build

pytestmark = pytest.mark.usefixtures("sdks")

_PLACE = ["--workspace", AzureStandIn.workspace, "--resource-group", AzureStandIn.resource_group]
_PARTS = ["--endpoint", "sentiment", "--stable", "blue", "--candidate", "green"]
_LINE = ["--traffic", "azureml", *_PLACE, *_PARTS]


def _traffic(*arguments: str) -> AksEndpointTraffic:
    return build(parse(["canary", *_LINE, *arguments]))


@pytest.fixture
def endpoint(azure: AzureStandIn) -> KubernetesEndpoint:
    """An endpoint with all traffic on its first version."""
    return azure.add_kubernetes_endpoint("sentiment", blue=100, green=0)


def _patches(azure: AzureStandIn) -> int:
    return sum(method == "PATCH" for method, _, _ in azure.requests)


def test_step_by_step(endpoint: KubernetesEndpoint) -> None:
    """Shares go from one step straight to the next; the promoted version is the default."""
    traffic: Traffic = _traffic()
    steps = [0, 10, 50, 100]

    for percent in steps:
        traffic.move(Weights(candidate_percent=percent))
        assert traffic.read() == Weights(candidate_percent=percent)

    seen = list(dict.fromkeys(shares["green"] for shares in endpoint.history))
    assert seen == steps
    assert (endpoint.percentiles, endpoint.default) == ({"blue": 0, "green": 100}, "green")


def test_back_at_once(azure: AzureStandIn) -> None:
    """Even from a candidate that was promoted everything goes back in one piece."""
    endpoint = azure.add_kubernetes_endpoint("sentiment", green=100, blue=0)

    _traffic().move(Weights())

    seen = list(dict.fromkeys(shares["blue"] for shares in endpoint.history))
    assert seen == [0, 100]
    assert (endpoint.percentiles, endpoint.default) == ({"green": 0, "blue": 100}, "blue")


def test_a_move_that_holds_changes_nothing(
    azure: AzureStandIn, endpoint: KubernetesEndpoint
) -> None:
    """The same move again asks Azure, but updates nothing."""
    traffic = _traffic()
    traffic.move(Weights(candidate_percent=10))
    patches = _patches(azure)

    traffic.move(Weights(candidate_percent=10))

    assert patches == 2
    assert _patches(azure) == patches
    assert endpoint.percentiles == {"blue": 90, "green": 10}


def test_killed_between_two_updates(azure: AzureStandIn) -> None:
    """What is lowered but not given yet counts as the stable version's, and the move goes on."""
    endpoint = azure.add_kubernetes_endpoint("sentiment", blue=50, green=10)
    traffic = _traffic()

    assert traffic.read() == Weights(candidate_percent=10)
    traffic.move(Weights(candidate_percent=50))

    assert endpoint.percentiles == {"blue": 50, "green": 50}
    assert _patches(azure) == 1


def test_baseline(azure: AzureStandIn) -> None:
    """A fresh copy of the stable version has a share of its own."""
    endpoint = azure.add_kubernetes_endpoint("sentiment", blue=100, green=0, fresh=0)
    traffic = _traffic("--baseline", "fresh")
    weights = Weights(candidate_percent=10, baseline_percent=10)

    traffic.move(weights)

    assert traffic.has_baseline
    assert traffic.read() == weights
    assert endpoint.percentiles == {"blue": 80, "green": 10, "fresh": 10}


def test_waits_for_a_change_of_before(azure: AzureStandIn, endpoint: KubernetesEndpoint) -> None:
    """A move returns only when Azure is done with it."""
    azure.registry.operations.polls = 1

    _traffic().move(Weights(candidate_percent=10))

    assert not endpoint.busy
    assert endpoint.percentiles == {"blue": 90, "green": 10}


Plant = Callable[[AzureStandIn, KubernetesEndpoint], object]


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (lambda a, _: a.registry.kubernetes_endpoints.clear(), "there is no endpoint sentiment"),
        (lambda _, e: e.percentiles.pop("green"), "has no version green, only blue; deploy it"),
        (lambda _, e: e.percentiles.update(blue=80, old=20), "gives 20 % to old, which has no"),
        (lambda a, _: setattr(a.faults, "endpoints_status", 403), "role AzureML Data Scientist"),
        (lambda a, _: setattr(a.registry, "client_secret", "another"), "AADSTS7000215"),
        (lambda a, _: setattr(a.registry.operations, "fail", True), "A replica does not start"),
    ],
    ids=["no endpoint", "no version", "another version", "forbidden", "bad secret", "fails"],
)
def test_refused(
    plant: Plant, said: str, azure: AzureStandIn, endpoint: KubernetesEndpoint
) -> None:
    """An error names the endpoint and what to do, and tells no secret."""
    plant(azure, endpoint)

    with pytest.raises(TrafficError) as raised:
        _traffic().move(Weights(candidate_percent=10))

    assert "endpoint sentiment" in str(raised.value)
    assert said in str(raised.value)
    assert not [secret for secret in azure.secrets if secret in str(raised.value)]
    assert all(shares.get("green", 0) == 0 for shares in endpoint.history)


def test_no_answer_in_time(azure: AzureStandIn, endpoint: KubernetesEndpoint) -> None:
    """A change that Azure never ends is given up, with the limit in the message."""
    endpoint.busy = True

    with pytest.raises(TrafficError, match=r"endpoint sentiment .* within 8 seconds"):
        _traffic("--timeout-seconds", "8").read()

    assert _patches(azure) == 0


def test_more_than_there_is(azure: AzureStandIn, endpoint: KubernetesEndpoint) -> None:
    """Azure refuses percentiles over 100, and its words are in the message."""
    update = {"version": "green", "traffic_percentile": 10, "is_default": None}

    with pytest.raises(TrafficError, match=r"cannot exceed 100, got 110"):
        _traffic()._endpoint.update(updates=[update])

    assert _patches(azure) == 1
    assert endpoint.percentiles == {"blue": 100, "green": 0}


def test_cannot_mirror(azure: AzureStandIn) -> None:
    """A mirror is refused before Azure is asked."""
    with pytest.raises(TrafficError, match=r"cannot mirror; .*azureml-v2"):
        _traffic().move(Weights(mirror_percent=10))

    assert not azure.requests


@pytest.mark.usefixtures("azure")
@pytest.mark.parametrize(
    ("candidate", "said"),
    [
        ("blue", "a different version for each part"),
        ("http://127.0.0.1:3000", "cannot be a version of endpoint sentiment; name the version"),
    ],
)
def test_names(candidate: str, said: str) -> None:
    """Stable and candidate are two versions, by the names that Azure has for them."""
    with pytest.raises(TrafficError, match=said):
        _traffic("--candidate", candidate)


def test_abort_from_the_command_line(
    azure: AzureStandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the state of a rollout is lost, its traffic can still be taken back."""
    endpoint = azure.add_kubernetes_endpoint("sentiment", blue=70, green=30)

    assert main(["abort", *_LINE, "--state", str(tmp_path / "none"), "--yes"]) == 0

    output = capsys.readouterr()
    assert endpoint.percentiles == {"blue": 100, "green": 0}
    assert not [secret for secret in azure.secrets if secret in output.out + output.err]
