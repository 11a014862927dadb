"""Azure ML's online endpoints, through SDK v2: deployments with a share of traffic each.

One update shares out everything at once. Mirrored requests go to the candidate, at most 50 % of
them, and only while it has no traffic of its own; Azure throws their answers away.

Source: Microsoft's "Perform safe rollout of new deployments for real-time inference", section on
mirrored traffic.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from textclf.azureml.environment import V2
from textclf.errors import TrafficError
from textclf.rollout.traffic.azure_endpoint import (
    AzureEndpoint,
    Shares,
    add_endpoint_arguments,
    read_endpoint_arguments,
)
from textclf.rollout.traffic.traffic import Weights

MOST_MIRRORED_PERCENT = 50

_KIND = "deployment"


class OnlineEndpointTraffic:
    """An online endpoint of azure-ai-ml.

    Attributes:
        name: As the command line has it.
        has_baseline: Whether one of the deployments is a baseline.
        mirrors: Always, though an online endpoint on Kubernetes refuses it.
    """

    name = "azureml-v2"
    mirrors = True

    def __init__(self, endpoint: AzureEndpoint, shares: Shares) -> None:
        self._endpoint = endpoint
        self._shares = shares
        self.has_baseline = shares.baseline is not None

    def read(self) -> Weights:
        """Return how traffic is shared out and mirrored.

        Raises:
            TrafficError: Azure does not say, or shares in a way that is not ours.
        """
        return self._weights(self._endpoint.read())

    def move(self, weights: Weights) -> None:
        """Share traffic out, and return when it holds.

        Raises:
            TrafficError: Azure refuses, or does not say; ``read`` tells what holds then.
        """
        self._check_mirror(weights)
        wanted = {name: percent for name, percent in self._shares.of(weights).items() if percent}
        mirror = {self._shares.candidate: weights.mirror_percent} if weights.mirror_percent else {}
        found = self._endpoint.read()
        self._shares.check(_deployed(found))
        same = (found["traffic"], found["mirror_traffic"]) == (wanted, mirror)
        if same and found["state"] == "Succeeded":  # after a failed update, Azure may do otherwise
            return
        found = self._endpoint.update(traffic=wanted, mirror_traffic=mirror)
        if self._weights(found) != weights:
            raise TrafficError(
                f"endpoint {self._endpoint.name} shares traffic as {found['traffic']} and mirrors "
                f"{found['mirror_traffic'] or 'nothing'} after it was told {wanted} and "
                f"{mirror or 'nothing'}; see who else changes it, and retry"
            )

    def _check_mirror(self, weights: Weights) -> None:
        if weights.mirror_percent > MOST_MIRRORED_PERCENT:
            raise TrafficError(
                f"endpoint {self._endpoint.name} cannot mirror {weights.mirror_percent} %: Azure "
                f"mirrors at most {MOST_MIRRORED_PERCENT} %; plan for no more"
            )
        if weights.mirror_percent and weights.candidate_percent:
            raise TrafficError(
                f"endpoint {self._endpoint.name} cannot both mirror to {self._shares.candidate} "
                f"and give it {weights.candidate_percent} %: Azure does one or the other; end the "
                "shadow first"
            )

    def _weights(self, found: Mapping[str, Any]) -> Weights:
        mirror = dict(found["mirror_traffic"])
        percent = mirror.pop(self._shares.candidate, 0)
        if mirror:
            raise TrafficError(
                f"endpoint {self._endpoint.name} mirrors to {', '.join(mirror)}, not to the "
                f"candidate {self._shares.candidate}; take that away, and retry"
            )
        return self._shares.weights(_deployed(found), percent)


def _deployed(found: Mapping[str, Any]) -> dict[str, int]:
    return {name: found["traffic"].get(name, 0) for name in found["deployments"]}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this engine needs to know."""
    add_endpoint_arguments(parser, _KIND)


def build(arguments: argparse.Namespace) -> OnlineEndpointTraffic:
    """Return the engine that the command line describes.

    Raises:
        AccessError: The credentials are malformed, or nothing names a subscription.
        TrafficError: Two deployments have one name, or a name cannot be one.
    """
    return OnlineEndpointTraffic(*read_endpoint_arguments(arguments, V2, _KIND))
