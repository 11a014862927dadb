"""What an nginx is told: who answers, who stands in, and what is refused before it is told."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from textclf.errors import TrafficError
from textclf.rollout.traffic import Weights
from textclf.rollout.traffic.nginx_config import Site, Upstreams, address, render_config

SITE = Site()
UPSTREAMS = Upstreams(
    stable="http://10.0.0.1:3000",
    candidate="http://10.0.0.2:3000",
    baseline="http://10.0.0.3:3000",
    recorder="http://127.0.0.1:8090",
)


def upstreams(weights: Weights) -> dict[str, list[str]]:
    """Return the servers of each upstream, the first one first."""
    text, _ = render_config(SITE, UPSTREAMS, weights)
    found = re.findall(r"upstream (\w+) \{(.*?)\n    \}", text, re.DOTALL)
    return {name: re.findall(r"server ([\d.:]+)", body) for name, body in found}


def shares(weights: Weights) -> list[str]:
    """Return the lines of shares."""
    text, _ = render_config(SITE, UPSTREAMS, weights)
    return re.findall(r"^ +(\d+% \w+);$", text, re.MULTILINE)


STABLE, CANDIDATE, BASELINE = "10.0.0.1:3000", "10.0.0.2:3000", "10.0.0.3:3000"


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (Weights(), {"stable": [STABLE]}),
        (
            Weights(candidate_percent=5),
            {"candidate": [CANDIDATE, STABLE], "stable": [STABLE, CANDIDATE]},
        ),
        (
            Weights(candidate_percent=5, baseline_percent=5),
            {
                "candidate": [CANDIDATE, BASELINE, STABLE],
                "baseline": [BASELINE, CANDIDATE, STABLE],
                "stable": [STABLE, CANDIDATE, BASELINE],
            },
        ),
        (Weights(mirror_percent=1), {"recorder": ["127.0.0.1:8090"], "stable": [STABLE]}),
    ],
    ids=["all stable", "candidate", "baseline", "mirror"],
)
def test_whoever_has_a_share_stands_in_for_the_others(
    weights: Weights, expected: dict[str, list[str]]
) -> None:
    """A version that no client was meant to meet is never asked."""
    assert upstreams(weights) == expected


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (Weights(), []),
        (
            Weights(candidate_percent=7, baseline_percent=3, mirror_percent=40),
            ["7% candidate", "3% baseline", "40% yes"],
        ),
        (Weights(candidate_percent=100), ["100% candidate"]),
    ],
)
def test_shares_are_those_of_the_weights(weights: Weights, expected: list[str]) -> None:
    """What is left is the stable version's; nginx refuses a share of nothing, so none is told."""
    assert shares(weights) == expected


def test_every_configuration_has_a_generation_of_its_own() -> None:
    """The same weights make the same one; other weights, versions or sites make another."""
    told = [
        (SITE, UPSTREAMS, Weights()),
        (SITE, UPSTREAMS, Weights(candidate_percent=1)),
        (SITE, UPSTREAMS, Weights(mirror_percent=1)),
        (SITE, replace(UPSTREAMS, stable="http://10.0.0.4:3000"), Weights()),
        (Site(timeout_seconds=1), UPSTREAMS, Weights()),
    ]
    generations = [render_config(*these)[1] for these in told]

    assert len(set(generations)) == len(told)
    assert render_config(SITE, UPSTREAMS, Weights())[1] == generations[0]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://service:3000", "service:3000"),
        ("http://service/", "service:80"),
        ("http://[::1]:3000", "[::1]:3000"),
    ],
)
def test_address(url: str, expected: str) -> None:
    """Host and port, and the usual port if none is named."""
    assert address(url, "candidate") == expected


@pytest.mark.parametrize(
    "url",
    [
        None,
        "https://service:3000",
        "http://service:3000/v2",
        "http://service:3000; return 200",
        "http://user@service",
        "service:3000",
        "http://service:3000\n",
    ],
)
def test_addresses_that_nginx_cannot_use(url: str | None) -> None:
    """They are refused with the version's name before nginx is told anything."""
    with pytest.raises(TrafficError, match="the candidate"):
        render_config(SITE, replace(UPSTREAMS, candidate=url), Weights(candidate_percent=1))
