"""Pages of /metrics as a service shows them over a day, without the service."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry, Counter, generate_latest

from tests.http.serving import PROJECT
from textclf.artifact import read_artifact
from textclf.drift import DriftMonitor, Reference
from textclf.drift.monitor import COUNTS

START = 1_790_000_000
STEP_SECONDS = 600


class Day:
    """The metrics of the reference model's service, a page every ten minutes."""

    def __init__(
        self, model: str = "sentiment:reference-2", reference: Reference | None = None
    ) -> None:
        reference = reference or read_artifact(PROJECT / "models" / "reference").reference
        assert reference
        self.model = model
        self.reference: Reference = reference
        self.pages: list[bytes] = []
        self._generator = np.random.default_rng(3)
        self._registry = CollectorRegistry()
        texts = Counter(COUNTS, "Texts.", ["model", "feature", "bin"], registry=self._registry)
        self._counts = {
            feature.name: [texts.labels(model, feature.name, name) for name in feature.bins]
            for feature in reference.features
        }
        page = generate_latest(self._registry)
        self._monitor = DriftMonitor(
            model, reference, page, lambda: float(STEP_SECONDS * len(self.pages))
        )
        self.serve(0)

    def serve(self, texts: int, *, moved: Mapping[str, float] | None = None) -> None:
        """Count texts and show a page.

        Args:
            texts: How many, spread as in the reference.
            moved: Share of them that is in the last bin of a feature instead.
        """
        for feature in self.reference.features:
            share = (moved or {}).get(feature.name, 0.0)
            shares = np.array(feature.counts) / feature.texts * (1 - share)
            shares[-1] += share
            for count, found in zip(
                self._counts[feature.name], self._generator.multinomial(texts, shares), strict=True
            ):
                count.inc(found)
        page = generate_latest(self._registry)
        self.pages.append(page + self._monitor.render(page))

    def save(self, folder: Path) -> list[Path]:
        """Write the pages to files of their time."""
        files = []
        for number, page in enumerate(self.pages):
            file = folder / f"{number:03}.prom"
            file.write_bytes(page)
            os.utime(file, (START + STEP_SECONDS * number,) * 2)
            files.append(file)
        return files
