"""What both engines of Azure ML share: an endpoint to ask and change, and whose share is whose."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from textclf.azureml.arguments import NAME, add_workspace_arguments, matching, read_workspace
from textclf.azureml.client import DEFAULT_TIMEOUT_SECONDS, SdkClient
from textclf.azureml.credentials import parse_credentials
from textclf.azureml.environment import Sdk
from textclf.errors import ModelImportError, TrafficError
from textclf.rollout.traffic.traffic import Weights
from textclf.settings import read_azure_credentials

_VERSION = r"[a-z][a-z0-9-]{1,30}[a-z0-9]"  # the SDKs themselves write names in lower case


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Which version of an endpoint has which part in a rollout.

    Attributes:
        endpoint: Its name, for messages.
        kind: What Azure calls a version there: version or deployment.
        stable: Name of the version that all traffic goes back to.
        candidate: Of the one that may take its place.
        baseline: Of a fresh copy of the stable one; None for none.
    """

    endpoint: str
    kind: str
    stable: str
    candidate: str
    baseline: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be a name, and one name for two versions."""
        for name in self.names:
            if not re.fullmatch(_VERSION, name):
                raise TrafficError(
                    f"{name} cannot be a {self.kind} of endpoint {self.endpoint}; name the "
                    f"{self.kind} as Azure does, and give where it is asked with --stable-url or "
                    "--candidate-url"
                )
        if len(set(self.names)) < len(self.names):
            raise TrafficError(
                f"endpoint {self.endpoint} cannot roll out {', '.join(self.names)}: name a "
                f"different {self.kind} for each part"
            )

    @property
    def names(self) -> list[str]:
        """Every version of the rollout."""
        return [name for name in (self.stable, self.candidate, self.baseline) if name]

    def of(self, weights: Weights) -> dict[str, int]:
        """Return the percent of each version, which add up to 100.

        Raises:
            TrafficError: There is a share for a baseline, but no baseline.
        """
        shares = {self.stable: weights.stable_percent, self.candidate: weights.candidate_percent}
        if self.baseline:
            shares[self.baseline] = weights.baseline_percent
        elif weights.baseline_percent:
            raise TrafficError(
                f"no {self.kind} of endpoint {self.endpoint} is the baseline; name one with "
                "--baseline, or plan without one"
            )
        return shares

    def check(self, deployed: Mapping[str, int]) -> None:
        """Refuse an endpoint that lacks a version of the rollout, or gives others a share.

        Args:
            deployed: Percent of every version that the endpoint has.

        Raises:
            TrafficError: It does; the message names the version.
        """
        missing = [name for name in self.names if name not in deployed]
        if missing:
            raise TrafficError(
                f"endpoint {self.endpoint} has no {self.kind} {' or '.join(missing)}, only "
                f"{', '.join(sorted(deployed)) or 'none'}; deploy it with no traffic, and retry"
            )
        others = [f"{p} % to {n}" for n, p in deployed.items() if p and n not in self.names]
        if others:
            raise TrafficError(
                f"endpoint {self.endpoint} gives {', '.join(others)}, which has no part in this "
                f"rollout of {', '.join(self.names)}; give that to {self.stable} first"
            )

    def weights(self, deployed: Mapping[str, int], mirror_percent: int = 0) -> Weights:
        """Return what the percentages of all versions come to.

        Raises:
            TrafficError: They are not ours, or do not add up to 100.
        """
        self.check(deployed)
        if sum(deployed.values()) != 100:
            raise TrafficError(
                f"endpoint {self.endpoint} gives out {sum(deployed.values())} % of its traffic, "
                f"not 100 %; give {self.stable} all of it first"
            )
        return Weights(
            candidate_percent=deployed[self.candidate],
            baseline_percent=deployed[self.baseline] if self.baseline else 0,
            mirror_percent=mirror_percent,
        )


class AzureEndpoint:
    """An endpoint, asked and changed through an SDK; each call has the whole limit on the time."""

    def __init__(self, name: str, connect: Callable[[], SdkClient]) -> None:
        """Ask nothing yet.

        Args:
            name: Of the endpoint.
            connect: Returns a new client of its workspace.
        """
        self.name = name
        self._connect = connect

    def read(self) -> dict[str, Any]:
        """Return what ``SdkClient.read_endpoint`` does.

        Raises:
            TrafficError: Azure does not say.
        """
        try:
            return self._connect().read_endpoint(self.name)
        except ModelImportError as exc:
            raise TrafficError(f"endpoint {self.name} cannot be read: {exc}") from exc

    def update(self, **changes: Any) -> dict[str, Any]:
        """Do what ``SdkClient.update_endpoint`` does.

        Raises:
            TrafficError: Azure refuses, or does not say.
        """
        try:
            return self._connect().update_endpoint(self.name, **changes)
        except ModelImportError as exc:
            raise TrafficError(f"traffic of endpoint {self.name} was not moved: {exc}") from exc


def add_endpoint_arguments(parser: argparse.ArgumentParser, kind: str) -> None:
    """Ask for an endpoint, whose versions Azure calls ``kind``."""
    add_workspace_arguments(parser)
    parser.add_argument(
        "--endpoint",
        type=matching(NAME, "an endpoint"),
        required=True,
        metavar="NAME",
        help=f"endpoint that has each version as a {kind}",
    )
    parser.add_argument(
        "--timeout-seconds",
        type=float,
        default=DEFAULT_TIMEOUT_SECONDS,
        metavar="S",
        help="longest time for Azure to read or move traffic (default: %(default)s)",
    )


def read_endpoint_arguments(
    arguments: argparse.Namespace, sdk: Sdk, kind: str
) -> tuple[AzureEndpoint, Shares]:
    """Return the endpoint that the command line names, and its versions.

    Args:
        arguments: What ``add_endpoint_arguments`` asks for, and ``stable``, ``candidate`` and
            ``baseline``, which name the versions.
        sdk: That the endpoint is of.
        kind: What Azure calls a version there.

    Raises:
        AccessError: The credentials are malformed, or nothing names a subscription.
        TrafficError: Two versions have one name, or a name cannot be one.
    """
    credentials = parse_credentials(read_azure_credentials())
    workspace = read_workspace(arguments, credentials)
    connect = partial(
        SdkClient, sdk, workspace, credentials, timeout_seconds=arguments.timeout_seconds
    )
    shares = Shares(
        endpoint=arguments.endpoint,
        kind=kind,
        stable=arguments.stable,
        candidate=arguments.candidate,
        baseline=arguments.baseline,
    )
    return AzureEndpoint(arguments.endpoint, connect), shares
