"""How fast graphs are, in turns."""

from __future__ import annotations

from pathlib import Path

import pytest

from textclf.artifact import read_artifact
from textclf.inference import Graph
from textclf.optimization.timing import speedup, time_in_turns


@pytest.mark.parametrize(
    ("times", "exact", "expected"),
    [
        ({(1, 8): 1.0}, {(1, 8): 1.0}, 1.0),
        ({(1, 8): 0.5, (8, 8): 2.0}, {(1, 8): 1.0, (8, 8): 4.0}, 2.0),
        ({(1, 8): 0.25, (8, 8): 4.0}, {(1, 8): 1.0, (8, 8): 1.0}, 1.0),
    ],
    ids=["as fast", "twice as fast", "faster here, slower there"],
)
def test_speedup(
    times: dict[tuple[int, int], float], exact: dict[tuple[int, int], float], expected: float
) -> None:
    """It is the geometric mean over all shapes, so that no long batch outweighs a short one."""
    assert speedup(times, exact) == pytest.approx(expected)


def test_every_shape_is_timed(classifier_folder: Path) -> None:
    """Lengths beyond what the graph takes become its longest input."""
    artifact = read_artifact(classifier_folder)
    graphs = [Graph(artifact.graph_path, artifact.description) for _ in range(2)]

    times = time_in_turns(graphs, [0, 5, 2], max_tokens=20)

    assert [sorted(found) for found in times] == [[(1, 8), (1, 20), (8, 8), (8, 20)]] * 2
    assert all(milliseconds > 0 for found in times for milliseconds in found.values())
