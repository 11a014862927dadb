"""Azure ML's endpoints on Kubernetes, through SDK v1: versions with a percentile of traffic each.

Such an endpoint takes one update at a time and has no update of two versions at once. What the
percentiles leave of 100 goes to its default version, so the stable version is made the default, and
shares are lowered before others are raised: in between, and if this process is killed there, what
is not given away yet is the stable version's.

For endpoints that exist: the class never left its preview, and newer front ends of Azure ML on
Kubernetes do not route by percentile (https://github.com/Azure/azure-sdk-for-python/issues/28096).
A new endpoint is better one of ``azureml-v2``.

Source: Microsoft's "Deploy models to Azure Kubernetes Service", section on controlled rollout: "If
you do not account for 100% of the traffic, any remaining percentage is routed to the default
endpoint version."
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from textclf.azureml.environment import V1
from textclf.errors import TrafficError
from textclf.rollout.traffic.azure_endpoint import (
    AzureEndpoint,
    Shares,
    add_endpoint_arguments,
    read_endpoint_arguments,
)
from textclf.rollout.traffic.traffic import Weights

_KIND = "version"

Versions = Mapping[str, Mapping[str, Any]]
"""Name to ``traffic_percentile`` and ``is_default``."""


class AksEndpointTraffic:
    """An ``AksEndpoint`` of azureml-core.

    Attributes:
        name: As the command line has it.
        has_baseline: Whether one of the versions is a baseline.
        mirrors: Never: such an endpoint cannot.
    """

    name = "azureml"
    mirrors = False

    def __init__(self, endpoint: AzureEndpoint, shares: Shares) -> None:
        self._endpoint = endpoint
        self._shares = shares
        self.has_baseline = shares.baseline is not None

    def read(self) -> Weights:
        """Return how traffic is shared out, the default version's remainder included.

        Raises:
            TrafficError: Azure does not say, or shares in a way that is not ours.
        """
        return self._shares.weights(_effective(self._endpoint.read()["versions"]))

    def move(self, weights: Weights) -> None:
        """Update what differs, and return when it holds.

        The candidate becomes the default version with the step that gives it everything.

        Raises:
            TrafficError: Azure refuses, or does not say; ``read`` tells what holds then.
        """
        if weights.mirror_percent:
            raise TrafficError(
                f"endpoint {self._endpoint.name} is an AksEndpoint, which cannot mirror; plan "
                "without a shadow, or move to an online endpoint (azureml-v2)"
            )
        wanted = self._shares.of(weights)
        versions = self._endpoint.read()["versions"]
        self._shares.check(_effective(versions))
        stable, candidate = self._shares.stable, self._shares.candidate
        updates = plan_updates(
            versions,
            wanted,
            stable=stable,
            default=candidate if weights.candidate_percent == 100 else stable,
        )
        if not updates:
            return
        versions = self._endpoint.update(updates=updates)["versions"]
        if self._shares.weights(_effective(versions)) != weights:
            raise TrafficError(
                f"endpoint {self._endpoint.name} shares traffic as {_effective(versions)} after it "
                f"was told {wanted}; see who else changes it, and retry"
            )


def plan_updates(
    versions: Versions, wanted: Mapping[str, int], *, stable: str, default: str
) -> list[dict[str, Any]]:
    """Return the updates that lead to what is wanted, with no more than 100 % given out meanwhile.

    Args:
        versions: What there is.
        wanted: Percentile of each version of the rollout.
        stable: The version that has the remainder on the way.
        default: The version that has it in the end.
    """
    percentiles = {name: versions[name]["traffic_percentile"] for name in wanted}
    changed = [name for name in wanted if wanted[name] != percentiles[name]]
    # Lowered first; of those that are raised, the one to be the default last.
    changed.sort(key=lambda name: (wanted[name] > percentiles[name], name == default))
    updates = [_update(name, traffic_percentile=wanted[name]) for name in changed]
    holder = next((name for name in versions if versions[name]["is_default"]), None)
    if updates and holder != stable:
        updates.insert(0, _update(stable, is_default=True))
        holder = stable
    if holder != default:
        if updates and updates[-1]["version"] == default:
            updates[-1]["is_default"] = True
        else:
            updates.append(_update(default, is_default=True))
    return updates


def _update(
    version: str, *, traffic_percentile: int | None = None, is_default: bool | None = None
) -> dict[str, Any]:
    return {
        "version": version,
        "traffic_percentile": traffic_percentile,
        "is_default": is_default,
    }


def _effective(versions: Versions) -> dict[str, int]:
    shares = {name: version["traffic_percentile"] for name, version in versions.items()}
    remainder = 100 - sum(shares.values())
    return {
        name: share + (remainder if versions[name]["is_default"] else 0)
        for name, share in shares.items()
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this engine needs to know."""
    add_endpoint_arguments(parser, _KIND)


def build(arguments: argparse.Namespace) -> AksEndpointTraffic:
    """Return the engine that the command line describes.

    Raises:
        AccessError: The credentials are malformed, or nothing names a subscription.
        TrafficError: Two versions have one name, or a name cannot be one.
    """
    return AksEndpointTraffic(*read_endpoint_arguments(arguments, V1, _KIND))
