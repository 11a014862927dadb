"""Argo Rollouts as an engine: each weight is a step, which its controller carries out.

Argo Rollouts moves traffic; nobody else may write its status or the routes. So a share is one step
and a pause without end, all traffic is a step with nothing after it, and going back is the stable
image in the template again, for which Argo Rollouts leaves out every step. The steps that the
Rollout had are gone: its analyses are the controller's then. Apply its manifest to have them back.
"""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

from textclf.errors import TrafficError
from textclf.rollout.traffic.argo_rollout import (
    DIGEST,
    ArgoRollout,
    State,
    add_arguments,
    read_arguments,
)
from textclf.rollout.traffic.traffic import Weights

__all__ = ["ArgoTraffic", "add_arguments", "build"]

_ALL: list[dict[str, Any]] = [{"setWeight": 100}]


class ArgoTraffic:
    """Traffic between two images of one Rollout.

    Attributes:
        name: As the command line has it.
        has_baseline: It has none.
        mirrors: It does not: in deploy/kubernetes/argo the route mirrors by itself.
    """

    name = "argo"

    def __init__(self, rollout: ArgoRollout, *, stable: str, candidate: str) -> None:
        """Describe it; nothing is asked yet.

        Args:
            rollout: A canary with a traffic router.
            stable: Image that all traffic goes back to, by digest.
            candidate: Image that may take its place, by digest.

        Raises:
            TrafficError: The images are one, or not named by digest.
        """
        for image in (stable, candidate):
            if not DIGEST.fullmatch(image):
                raise TrafficError(f"{image} does not name an image by digest: NAME@sha256:…")
        if stable == candidate:
            raise TrafficError(f"{stable} is both versions of {rollout}; name two images")
        self.has_baseline = False
        self.mirrors = False
        self._rollout = rollout
        self._stable = stable
        self._candidate = candidate

    def read(self) -> Weights:
        """Return how traffic is shared out, once Argo Rollouts has seen what it is to do.

        Raises:
            TrafficError: It has not in time, or rolls out another image.
        """
        state = self._rollout.wait(lambda _state: True, "a state that Argo Rollouts has seen")
        return Weights(candidate_percent=self._percent(state))

    def move(self, weights: Weights) -> None:
        """Share traffic out; returns when it is.

        Raises:
            TrafficError: It is refused, or not done in time; what was asked for before is again.
        """
        if weights.baseline_percent or weights.mirror_percent:
            raise TrafficError("engine argo has no baseline and no mirror; plan without them")
        percent = weights.candidate_percent
        before = self._rollout.wait(lambda _state: True, "a state that Argo Rollouts has seen")
        if self._percent(before) == percent:
            return
        if self._is_candidate(before) and before.promoted and percent:
            raise TrafficError(
                f"{self._candidate} is promoted in {self._rollout}; all traffic can go back, a "
                "part of it cannot"
            )
        try:
            self._ask_for(percent, before)
            self._rollout.wait(
                lambda state: self._holds(state, percent), f"{percent} % for {self._candidate}"
            )
        except TrafficError:
            with contextlib.suppress(TrafficError):
                self._undo(before)
            raise

    def _ask_for(self, percent: int, before: State) -> None:
        if not percent:
            if before.promoted:  # then this is a rollout in the other direction
                self._rollout.write_steps(_ALL)
            self._rollout.write_image(self._stable)
            return
        share: list[dict[str, Any]] = [{"setWeight": percent}, {"pause": {}}]
        self._rollout.write_steps(_ALL if percent == 100 else share)
        if not self._is_candidate(before):
            self._rollout.write_image(self._candidate)

    def _undo(self, before: State) -> None:
        """Ask for what was before: the image first, so that no step is taken for the wrong one."""
        self._rollout.write_image(before.image)
        self._rollout.write_steps(before.steps)

    def _holds(self, state: State, percent: int) -> bool:
        whole = percent in {0, 100}
        return state.promoted is whole and self._percent(state) == percent

    def _percent(self, state: State) -> int:
        if self._is_candidate(state):
            return 100 if state.promoted else state.weight
        return 0 if state.promoted else 100 - state.weight

    def _is_candidate(self, state: State) -> bool:
        if not state.driven:
            raise TrafficError(
                f"{self._rollout} is no canary with a traffic router, which is the only kind that "
                "can be driven; deploy/kubernetes/argo/canary is one"
            )
        if state.image not in {self._stable, self._candidate}:
            raise TrafficError(
                f"{self._rollout} has image {state.image}, which is no version of this rollout; "
                "name the images that it serves, or set the stable one first"
            )
        return state.image == self._candidate


def build(arguments: argparse.Namespace) -> ArgoTraffic:
    """Return the engine that the command line describes.

    Raises:
        TrafficError: The images are one, or not named by digest.
    """
    return ArgoTraffic(
        read_arguments(arguments), stable=arguments.stable, candidate=arguments.candidate
    )
