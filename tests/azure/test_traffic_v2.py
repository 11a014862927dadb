"""Traffic of an online endpoint, moved by the genuine SDK v2 in a stand-in of a workspace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scripts._rollout_arguments import parse
from scripts.rollout import main
from tests.azure.endpoints import ManagedEndpoint
from tests.azure.standin import AzureStandIn
from textclf.errors import TrafficError
from textclf.rollout.traffic import Traffic, Weights
from textclf.rollout.traffic.azureml_v2 import OnlineEndpointTraffic, build

pytestmark = pytest.mark.usefixtures("sdks")

_PLACE = ["--workspace", AzureStandIn.workspace, "--resource-group", AzureStandIn.resource_group]
_PARTS = ["--endpoint", "sentiment", "--stable", "blue", "--candidate", "green"]
_LINE = ["--traffic", "azureml-v2", *_PLACE, *_PARTS]


def _traffic(*arguments: str) -> OnlineEndpointTraffic:
    return build(parse(["canary", *_LINE, *arguments]))


@pytest.fixture
def endpoint(azure: AzureStandIn) -> ManagedEndpoint:
    """An endpoint with all traffic on its first deployment."""
    return azure.add_managed_endpoint("sentiment", blue=100, green=0)


def _puts(azure: AzureStandIn) -> int:
    return sum(method == "PUT" for method, _, _ in azure.requests)


def test_step_by_step(endpoint: ManagedEndpoint) -> None:
    """A shadow, then each share, then everything; Azure is told nothing else on the way."""
    traffic: Traffic = _traffic()
    steps = [Weights(mirror_percent=50), *(Weights(candidate_percent=p) for p in (10, 50, 100, 0))]

    for weights in steps:
        traffic.move(weights)
        assert traffic.read() == weights

    assert endpoint.history[1:] == [
        ({"blue": 100}, {"green": 50}),
        ({"blue": 90, "green": 10}, {}),
        ({"blue": 50, "green": 50}, {}),
        ({"green": 100}, {}),
        ({"blue": 100}, {}),
    ]


def test_a_move_that_holds_changes_nothing(azure: AzureStandIn, endpoint: ManagedEndpoint) -> None:
    """The same move again asks Azure, but updates nothing, unless the last update failed."""
    traffic = _traffic()
    weights = Weights(candidate_percent=10)
    traffic.move(weights)
    traffic.move(weights)
    assert _puts(azure) == 1

    endpoint.state = "Failed"
    traffic.move(weights)

    assert _puts(azure) == 2
    assert endpoint.state == "Succeeded"


def test_baseline(azure: AzureStandIn) -> None:
    """A fresh copy of the stable deployment has a share of its own."""
    endpoint = azure.add_managed_endpoint("sentiment", blue=100, green=0, fresh=0)
    traffic = _traffic("--baseline", "fresh")
    weights = Weights(candidate_percent=10, baseline_percent=10)

    traffic.move(weights)

    assert traffic.has_baseline
    assert traffic.read() == weights
    assert endpoint.traffic == {"blue": 80, "green": 10, "fresh": 10}


def test_no_baseline(endpoint: ManagedEndpoint) -> None:
    """A share for a baseline that is not there is refused."""
    with pytest.raises(TrafficError, match="name one with --baseline, or plan"):
        _traffic().move(Weights(candidate_percent=10, baseline_percent=10))

    assert endpoint.traffic == {"blue": 100, "green": 0}


def test_waits_for_the_operation(azure: AzureStandIn, endpoint: ManagedEndpoint) -> None:
    """A move returns only when Azure is done with it."""
    azure.registry.operations.polls = 2

    _traffic().move(Weights(candidate_percent=10))

    assert endpoint.state == "Succeeded"
    assert endpoint.traffic == {"blue": 90, "green": 10}


Plant = Callable[[AzureStandIn, ManagedEndpoint], object]


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (lambda a, _: a.registry.managed_endpoints.clear(), "there is no endpoint sentiment"),
        (lambda _, e: e.deployments.remove("green"), "has no deployment green, only blue; deploy"),
        (lambda _, e: _give(e, blue=80, old=20), "gives 20 % to old, which has no part"),
        (lambda a, _: setattr(a.faults, "endpoints_status", 403), "role AzureML Data Scientist"),
        (lambda a, _: setattr(a.registry, "client_secret", "another"), "AADSTS7000215"),
        (lambda a, _: setattr(a.registry.operations, "fail", True), "could not be applied"),
    ],
    ids=["no endpoint", "no deployment", "another deployment", "forbidden", "bad secret", "fails"],
)
def test_refused(plant: Plant, said: str, azure: AzureStandIn, endpoint: ManagedEndpoint) -> None:
    """An error names the endpoint and what to do, and tells no secret."""
    endpoint.traffic = {"blue": 100}
    plant(azure, endpoint)

    with pytest.raises(TrafficError) as raised:
        _traffic().move(Weights(candidate_percent=10))

    assert "endpoint sentiment" in str(raised.value)
    assert said in str(raised.value)
    assert not [secret for secret in azure.secrets if secret in str(raised.value)]


def _give(endpoint: ManagedEndpoint, **traffic: int) -> None:
    endpoint.traffic = traffic
    endpoint.deployments = ["blue", "green", "old"]


@pytest.mark.parametrize(
    ("traffic", "said"),
    [
        ({}, "gives out 0 % of its traffic, not 100 %; give blue all of it first"),
        ({"blue": 80, "old": 20}, "gives 20 % to old"),
    ],
    ids=["no traffic", "another deployment"],
)
def test_shares_that_are_not_ours(
    traffic: dict[str, int], said: str, endpoint: ManagedEndpoint
) -> None:
    """What cannot be told as weights is not read as some."""
    _give(endpoint, **traffic)

    with pytest.raises(TrafficError, match=said):
        _traffic().read()


def test_mirrors_elsewhere(endpoint: ManagedEndpoint) -> None:
    """Requests that are mirrored to another deployment are no shadow of ours."""
    endpoint.mirror_traffic = {"blue": 10}

    with pytest.raises(TrafficError, match="mirrors to blue, not to the candidate green"):
        _traffic().read()


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (Weights(mirror_percent=51), "Azure mirrors at most 50 %"),
        (Weights(mirror_percent=10, candidate_percent=10), "cannot both mirror to green and give"),
    ],
    ids=["over 50", "live and mirrored"],
)
def test_impossible_mirrors(
    weights: Weights, said: str, azure: AzureStandIn, endpoint: ManagedEndpoint
) -> None:
    """What Azure would refuse is refused before it is asked."""
    with pytest.raises(TrafficError, match=said):
        _traffic().move(weights)

    assert not azure.requests
    assert len(endpoint.history) == 1


@pytest.mark.parametrize(
    ("traffic", "mirror", "said"),
    [
        ({"blue": 90, "green": 5}, {}, "must add up to 0 or 100 percent, got 95"),
        ({"blue": 100}, {"green": 60}, "at most 50 percent of mirrored"),
        ({"blue": 90, "grey": 10}, {}, "deployment grey does not exist"),
    ],
    ids=["not 100", "mirror", "unknown"],
)
def test_what_azure_refuses(
    traffic: dict[str, int], mirror: dict[str, int], said: str, endpoint: ManagedEndpoint
) -> None:
    """Azure's own words are in the message."""
    with pytest.raises(TrafficError, match=said):
        _traffic()._endpoint.update(traffic=traffic, mirror_traffic=mirror)

    assert len(endpoint.history) == 1


def test_no_answer_in_time(azure: AzureStandIn, endpoint: ManagedEndpoint) -> None:
    """A change that Azure never ends is given up, with the limit in the message."""
    endpoint.state = "Updating"

    with pytest.raises(TrafficError, match=r"endpoint sentiment .* within 8 seconds"):
        _traffic("--timeout-seconds", "8").read()

    assert _puts(azure) == 0


def test_abort_from_the_command_line(
    azure: AzureStandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the state of a rollout is lost, its traffic can still be taken back."""
    endpoint = azure.add_managed_endpoint("sentiment", blue=70, green=30)

    assert main(["abort", *_LINE, "--state", str(tmp_path / "none"), "--yes"]) == 0

    output = capsys.readouterr()
    assert endpoint.traffic == {"blue": 100}
    assert not [secret for secret in azure.secrets if secret in output.out + output.err]
