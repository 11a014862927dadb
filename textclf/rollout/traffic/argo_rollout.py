"""A Rollout of Argo Rollouts and the Deployment that it has its pods' template from, by kubectl."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textclf.errors import TrafficError

DIGEST = re.compile(r"[a-z0-9][a-z0-9._:/-]*@sha256:[0-9a-f]{64}")
_KUBECTL_SECONDS = 60.0
_POLL_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class State:
    """What Kubernetes says of a rollout.

    Attributes:
        image: That the template names.
        steps: Of its canary.
        settled: Whether Argo Rollouts has seen the template and the steps.
        promoted: Whether all pods, and all traffic, are of the template.
        weight: Percent of requests that pods of the template answer while it is not promoted.
        driven: Whether its strategy is one that can be driven: canary with a traffic router.
        phase: ``Healthy``, ``Progressing``, ``Paused`` or ``Degraded``.
        message: Why.
    """

    image: str
    steps: tuple[Mapping[str, Any], ...]
    settled: bool
    promoted: bool
    weight: int
    driven: bool
    phase: str
    message: str


@dataclass(frozen=True, kw_only=True)
class ArgoRollout:
    """One rollout.

    Attributes:
        name: Of the Rollout.
        namespace: Of it.
        container: Of its pods, whose image is rolled out.
        timeout_seconds: Longest wait for Argo Rollouts to carry out what it was told.
        kubeconfig: How to reach Kubernetes; None for kubectl's own way.
        program: kubectl.
    """

    name: str = "textclf"
    namespace: str = "textclf"
    container: str = "textclf"
    timeout_seconds: float = 900.0
    kubeconfig: Path | None = None
    program: str = "kubectl"

    def read(self) -> State:
        """Return how it stands at this moment.

        Raises:
            TrafficError: kubectl cannot say, or it has no Deployment.
        """
        rollout = self._get("rollouts.argoproj.io", self.name)
        try:
            workload = rollout["spec"]["workloadRef"]["name"]
            deployment = self._get("deployments.apps", workload)
            return _read_state(rollout, deployment, self.container)
        except (LookupError, TypeError, ValueError) as exc:
            raise TrafficError(
                f"{self} has no {exc} that can be read; deploy/kubernetes/argo has rollouts with it"
            ) from exc

    def write_image(self, image: str) -> None:
        """Name another image in the template, which is what starts a rollout.

        Raises:
            TrafficError: Kubernetes refuses.
        """
        rollout = self._get("rollouts.argoproj.io", self.name)
        containers = [{"name": self.container, "image": image}]
        patch = {"spec": {"template": {"spec": {"containers": containers}}}}
        workload = rollout["spec"]["workloadRef"]["name"]
        self._patch("deployments.apps", workload, patch, kind="strategic")

    def write_steps(self, steps: Sequence[Mapping[str, Any]]) -> None:
        """Replace the steps; a rollout that is under way begins at the first of them.

        Raises:
            TrafficError: Kubernetes refuses.

        Source: syncRolloutStatusCanary of rollout/canary.go in argoproj/argo-rollouts
        """
        patch = {"spec": {"strategy": {"canary": {"steps": list(steps)}}}}
        self._patch("rollouts.argoproj.io", self.name, patch, kind="merge")

    def wait(self, until: Callable[[State], bool], what: str) -> State:
        """Return the first state that has settled and is as asked for.

        Raises:
            TrafficError: It is not within the time, or the rollout is degraded.
        """
        deadline = time.monotonic() + self.timeout_seconds
        while True:
            state = self.read()
            if state.settled and until(state):
                return state
            if state.settled and state.phase == "Degraded":
                raise TrafficError(f"{self} was given up before {what}: {state.message}")
            if time.monotonic() > deadline:
                raise TrafficError(
                    f"{self} did not come to {what} within {self.timeout_seconds:g} s; it is "
                    f"{state.phase}: {state.message or 'no reason given'}; see kubectl --namespace "
                    f"{self.namespace} describe rollout {self.name}"
                )
            time.sleep(_POLL_SECONDS)

    def __str__(self) -> str:
        """Name it as people do."""
        return f"rollout {self.namespace}/{self.name}"

    def _get(self, kind: str, name: str) -> dict[str, Any]:
        return dict(json.loads(self._kubectl("get", kind, name, "--output", "json")))

    def _patch(self, resource: str, name: str, patch: Mapping[str, Any], *, kind: str) -> None:
        self._kubectl("patch", resource, name, "--type", kind, "--patch", json.dumps(patch))

    def _kubectl(self, *arguments: str) -> str:
        command = [self.program, "--namespace", self.namespace, *arguments]
        if self.kubeconfig:
            command += ["--kubeconfig", str(self.kubeconfig)]
        try:
            return subprocess.run(  # noqa: S603 - no shell
                command, check=True, capture_output=True, text=True, timeout=_KUBECTL_SECONDS
            ).stdout
        except FileNotFoundError as exc:
            raise TrafficError(f"there is no program {self.program}; install kubectl") from exc
        except (OSError, subprocess.SubprocessError) as exc:
            said = (getattr(exc, "stderr", None) or str(exc)).strip()
            raise TrafficError(
                f"kubectl cannot {' '.join(arguments[:3])} in namespace {self.namespace}: {said}"
            ) from exc


def _read_state(rollout: Mapping[str, Any], deployment: Mapping[str, Any], container: str) -> State:
    status = rollout.get("status", {})
    canary = rollout["spec"]["strategy"].get("canary", {})
    containers = deployment["spec"]["template"]["spec"]["containers"]
    weights = status.get("canary", {}).get("weights", {})
    return State(
        image={c["name"]: c["image"] for c in containers}[container],
        steps=tuple(canary.get("steps", ())),
        settled=_has_seen(status.get("observedGeneration"), rollout)
        and _has_seen(status.get("workloadObservedGeneration"), deployment),
        promoted=bool(status.get("stableRS"))
        and status.get("stableRS") == status.get("currentPodHash"),
        weight=int(weights.get("canary", {}).get("weight", 0)),
        driven="trafficRouting" in canary,
        phase=status.get("phase", "Progressing"),
        message=status.get("message", ""),
    )


def _has_seen(generation: Any, resource: Mapping[str, Any]) -> bool:
    return str(generation) == str(resource["metadata"]["generation"])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Ask for a rollout."""
    parser.add_argument(
        "--namespace",
        default=ArgoRollout.namespace,
        metavar="NAME",
        help="of Kubernetes (default: %(default)s)",
    )
    parser.add_argument(
        "--rollout-name",
        default=ArgoRollout.name,
        metavar="NAME",
        help="of the Rollout (default: %(default)s)",
    )
    parser.add_argument(
        "--kubeconfig",
        type=Path,
        metavar="FILE",
        help="how to reach Kubernetes (default: kubectl's)",
    )
    parser.add_argument(
        "--argo-timeout-seconds",
        type=float,
        default=ArgoRollout.timeout_seconds,
        metavar="S",
        help="longest wait for Argo Rollouts to do as told (default: %(default)g)",
    )


def read_arguments(arguments: argparse.Namespace) -> ArgoRollout:
    """Return the rollout that the command line names."""
    return ArgoRollout(
        name=arguments.rollout_name,
        namespace=arguments.namespace,
        kubeconfig=arguments.kubeconfig,
        timeout_seconds=arguments.argo_timeout_seconds,
    )
