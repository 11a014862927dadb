"""A recording, compared with its reference: at each time, and as it was in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from textclf.drift.distance import LEAST_TEXTS, corrected_psi, threshold
from textclf.drift.window import Counts, SlidingWindow
from textclf.drift_report.recording import Recording

WINDOW_TEXTS = 1_000


@dataclass(frozen=True, slots=True)
class Point:
    """The distance of one feature at one time.

    Attributes:
        at: Seconds since 1970.
        texts: In the window that ends then.
        distance: From the reference.
        threshold: Beyond which it has drifted.
    """

    at: float
    texts: float
    distance: float
    threshold: float

    @property
    def drifted(self) -> bool:
        """Whether the distance is over the threshold."""
        return self.distance > self.threshold


@dataclass(frozen=True, kw_only=True)
class FeatureReview:
    """What became of one feature.

    Attributes:
        name: Of the feature.
        points: Wherever there were texts enough.
        bins: Names of its bins.
        before: Share of each bin in the reference.
        after: The same in the last window.
        texts: In the last window.
    """

    name: str
    points: Sequence[Point]
    bins: Sequence[str]
    before: Sequence[float]
    after: Sequence[float]
    texts: float

    @property
    def last(self) -> Point | None:
        """The newest point, if there is any."""
        return self.points[-1] if self.points else None

    @property
    def since(self) -> float | None:
        """Since when it is drifted without a break; None if it is not."""
        start = None
        for point in reversed(self.points):
            if not point.drifted:
                break
            start = point.at
        return start

    @property
    def most_moved(self) -> tuple[str, float, float]:
        """The bin whose share moved most, and its share before and after."""
        moves = zip(self.bins, self.before, self.after, strict=True)
        return max(moves, key=lambda move: abs(move[2] - move[1]))


@dataclass(frozen=True, kw_only=True)
class Review:
    """What became of every feature of a model.

    Attributes:
        recording: What was compared.
        features: Of the reference.
        texts: In the whole recording.
        span: When the last window begins and ends, in seconds since 1970.
    """

    recording: Recording
    features: Sequence[FeatureReview]
    texts: float
    span: tuple[float, float]

    @property
    def drifted(self) -> list[FeatureReview]:
        """Features that are over their threshold in the end."""
        return [feature for feature in self.features if feature.since is not None]

    @property
    def enough(self) -> bool:
        """Whether there is anything to say of the last window."""
        return any(feature.last for feature in self.features)


def review(recording: Recording, *, window_texts: int = WINDOW_TEXTS) -> Review:
    """Compare the texts of a recording with the reference, the last so many at each time.

    Args:
        recording: Of one model.
        window_texts: How many, or all there are; at least 200, or nothing can be said.
    """
    times, counts = recording.times, recording.counts
    window = SlidingWindow(
        times[0],
        counts[0],
        most_texts=window_texts,
        most_seconds=float("inf"),
        mark_seconds=0.0,
    )
    windows = [window.look(at, some) for at, some in zip(times[1:], counts[1:], strict=True)]
    seconds, _ = windows[-1]
    return Review(
        recording=recording,
        features=[
            _review_feature(recording, name, [found for _, found in windows])
            for name in recording.shares
        ],
        texts=sum(_of(counts[-1], "labels", list(recording.shares["labels"]))),
        span=(times[-1] - seconds, times[-1]),
    )


def _review_feature(recording: Recording, name: str, windows: Sequence[Counts]) -> FeatureReview:
    shares: Mapping[str, float] = recording.shares[name]
    bins = list(shares)
    known = recording.feature_texts.get(name, recording.reference_texts)
    reference = [share * known for share in shares.values()]
    points = []
    for at, counts in zip(recording.times[1:], windows, strict=True):
        found = _of(counts, name, bins)
        texts = sum(found)
        if texts >= LEAST_TEXTS:
            limit = threshold(len(bins), texts, known)
            points.append(Point(at, texts, corrected_psi(found, reference), limit))
    found = _of(windows[-1], name, bins)
    return FeatureReview(
        name=name,
        points=points,
        bins=bins,
        before=list(shares.values()),
        after=[count / max(sum(found), 1) for count in found],
        texts=sum(found),
    )


def _of(counts: Counts, feature: str, bins: Sequence[str]) -> list[float]:
    return [counts.get((feature, name), 0.0) for name in bins]
