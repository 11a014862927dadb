"""One rollout on the stage, under load, with a fault that is planted on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.http.serving import PROJECT
from tests.rollout.stage import Stage
from textclf.errors import PreflightError
from textclf.rollout.controller import Controller
from textclf.rollout.evidence import Sources
from textclf.rollout.identity import begin
from textclf.rollout.metrics import MetricsPassedOver
from textclf.rollout.plan import Plan
from textclf.rollout.preflight import check_candidate, find_unready
from textclf.rollout.recording import RecorderProcess
from textclf.rollout.stages import list_stages
from textclf.rollout.state import State, Version
from textclf.rollout.store import Store
from textclf.rollout.traffic import Weights

MODEL = PROJECT / "models" / "reference"
# Four of five are positive, as real traffic is never balanced: labels that flip move the mix.
TEXTS = ("Loved it.", "A fine film.", "Great fun.", "A joy to watch.", "Dull and far too long.")

Planted = Literal["before", "shadow", "step"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one rollout.

    Attributes:
        caught_at: Kind of the stage that ended it; empty if the candidate was promoted.
        judged: Requests of the candidate, or pairs of answers, that the last look stood on.
        exposed: Requests of clients that went to the candidate.
        failed: Requests of clients that failed.
        requests: Of clients, in all.
        seconds: From when the fault was planted.
        weights: In the end, as nginx says.
        reason: Of the end.
    """

    caught_at: str
    judged: int
    exposed: int
    failed: int
    requests: int
    seconds: float
    weights: Weights
    reason: str


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """A rollout of the stage's candidate.

    Attributes:
        stage: Where.
        folder: Of its state.
        plan: What is done.
        fault: That is planted; empty for none.
        planted: ``before`` everything, and met by the preflight first; or after it, before the
            ``shadow``; or with the first ``step``, once clients depend on the candidate.
        rate: Requests of clients a second.
        texts: That they ask about.
    """

    stage: Stage
    folder: Path
    plan: Plan
    fault: str = ""
    planted: Planted = "shadow"
    rate: float = 60.0
    texts: Sequence[str] = TEXTS

    def run(self) -> Outcome:
        """Go from the beginning to the end."""
        began = time.monotonic()

        def tell(line: str) -> None:
            nonlocal began
            if self.planted == "step" and line.startswith("traffic is at") and "candidate" in line:
                self.stage.plant(self.fault)
                began = time.monotonic()

        if self.planted != "step":
            self.stage.plant(self.fault)
        store, before = Store(self.folder), self.stage.sent()
        with self.stage.load(self.rate, texts=self.texts) as load, store.lock():
            state, refused = self._control(store, tell)
            seconds = time.monotonic() - began
        stages = list_stages(self.plan, records_pairs=True)
        looks = store.looks()
        return Outcome(
            caught_at="" if state.outcome == "promoted" else stages[state.position].kind,
            judged=max((finding.n for finding in looks[-1].findings), default=0) if looks else 0,
            exposed=(self.stage.sent() - before)["candidate"],
            failed=load.failures.total(),
            requests=len(load.replies),
            seconds=seconds,
            weights=self.stage.nginx.read(),
            reason=refused or state.reason,
        )

    def _control(self, store: Store, tell: Callable[[str], None]) -> tuple[State, str]:
        stage, urls = self.stage, self.stage.urls

        def preflight() -> None:
            if self.planted == "before":
                check_candidate(urls["stable"], urls["candidate"], str(MODEL))

        controller = Controller(
            store=store,
            sources=Sources(
                traffic=stage.nginx,
                metrics=MetricsPassedOver(stage.scraped(), stage.nginx),
                pairs=RecorderProcess(stage.recorder, urls, self.folder),
                find_unready=lambda: find_unready(urls["candidate"]),
            ),
            preflight=preflight,
            find_stable_unready=lambda: find_unready(urls["stable"]),
            tell=tell,
        )
        begun = begin(
            self.plan,
            traffic=stage.nginx.name,
            versions={version: Version(name=url, url=url) for version, url in urls.items()},
            records_pairs=True,
            now=time.time(),
        )
        try:
            return controller.run(begun), ""
        except PreflightError as exc:
            return store.load() or begun, str(exc)
