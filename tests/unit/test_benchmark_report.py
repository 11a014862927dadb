"""Ratios and tables of results that were made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.errors import BenchmarkError
from benchmarks.plots import draw_padding, draw_plots
from benchmarks.report import (
    BEGIN,
    END,
    render_guards,
    render_results,
    show_plots,
    write_between_markers,
)
from benchmarks.targets import LARGE, REFERENCE, list_guards, list_targets


def _load(
    rate: float,
    connections: int = 1,
    *,
    texts: int = 1,
    p50: float = 2.0,
    p99: float = 3.0,
    **more: Any,
) -> dict[str, Any]:
    return {
        "connections": connections,
        "texts_per_request": texts,
        "goodput_per_second": rate / texts,
        "texts_per_second": rate,
        "rate_per_second": None,
        "share": None,
        "answers": {"200": 100},
        "errors": {},
        "latency_ms": {"p50": p50, "p90": p50, "p99": p99, "p99.9": p99, "max": p99, "mean": p50},
        **more,
    }


def _system(calibration: float, closed: list[Any], opened: list[Any] | None = None) -> Any:
    return {
        "calibration": calibration,
        "closed": closed,
        "open": opened or [],
        "failure": "",
        "ready_seconds": 2.0,
        "memory_before_bytes": 100_000_000,
        "memory_after_bytes": 123_000_000,
    }


def _model() -> dict[str, Any]:
    limit = {
        "texts_per_second": 1000.0,
        "setting": {"callers": 2, "threads": 1, "batch_texts": 16},
        "single": [{"threads": 1, "median_ms": 1.0, "p99_ms": 4.0}],
        "single_median_ms": 1.0,
        "mean_tokens": 24.0,
    }
    overload = _load(855.0, 256, share=1.5, rate_per_second=1350.0)
    overload |= {"answers": {"200": 90, "429": 8, "503": 2}, "errors": {"wrong body": 1}}
    ours = [
        _load(300.0),
        _load(700.0, 8),
        _load(900.0, 32, p50=40.0, p99=60.0),
        _load(800.0, 128),
        _load(990.0, 32, texts=16),
    ]
    half = _load(450.0, 256, share=0.5, rate_per_second=450.0, p99=5.0)
    return {
        "graph_bytes": 23_000_000,
        "limit": limit,
        "stock": limit | {"texts_per_second": 1250.0, "calibration": 1000.0},
        "systems": {
            "textclf": _system(1000.0, ours, [half, overload]),
            "Flask, fp32": _system(500.0, [_load(90.0, 8)]),
            "Flask, int8": _system(500.0, [_load(200.0, 8), _load(225.0, 32)]),
            "FastAPI": _system(1250.0, [_load(500.0, 32), _load(999.0, 32, texts=16)]),
        },
        "lengths": [{"tokens": 8, "batch_texts": 32, "texts_per_second": 2000.0}],
        "scaling": [{"cpus": 1, "limit_texts_per_second": 500.0, "texts_per_second": 400.0}],
        "calibrations": [1000.0, 500.0],
    }


@pytest.fixture
def results() -> dict[str, Any]:
    """Return the results of a run."""
    return {
        "mode": "full",
        "started_at": "2026-01-01T00:00:00Z",
        "seconds": 60.0,
        "machine": {"cpu": "C", "vnni": True, "cores": 2, "memory_gb": 8.0, "kernel": "6"},
        "versions": {
            "python": "3.11",
            "commit": "abc",
            "textclf": {"onnxruntime": "1"},
            "peers": {"flask": {"flask": "3.1"}},
        },
        "corpus": {"file": "corpus.txt", "sha256": "0", "texts": 3},
        "models": {REFERENCE: _model(), LARGE: _model()},
    }


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("texts/s ÷ in-process limit, 8 connections", 0.7),
        ("texts/s ÷ in-process limit, 32 connections", 0.9),
        ("texts/s ÷ in-process limit, 128 connections", 0.8),
        ("best ÷ best peer with the same file", 0.9 / 0.45),
        ("best ÷ the book's Flask app in fp32", 0.9 / 0.18),
        ("limit ÷ limit of stock dynamic int8", 0.8),
        ("150 % load: goodput ÷ maximum", 0.95),
        ("one connection: median ÷ median of the graph alone", 2.0),
        ("32 connections: p99 ÷ median", 1.5),
        ("50 % load: p99 ÷ median of the graph alone", 5.0),
        ("150 % load: errors other than 429", 3.0),
        ("idle memory above the model file", 100.0),
        ("start to ready", 2.0),
    ],
)
def test_targets_are_ratios_within_the_run(
    results: dict[str, Any], what: str, expected: float
) -> None:
    """Each is what the hand-made figures give, and throughput is divided by its calibration."""
    (target,) = (t for t in list_targets(results) if t.model == REFERENCE and t.what == what)

    assert target.measured == pytest.approx(expected)


def test_a_slower_machine_is_not_a_slower_system(results: dict[str, Any]) -> None:
    """Half of the throughput beside half of the limit is the same share."""
    before = [target.measured for target in list_targets(results)]
    ours = results["models"][REFERENCE]["systems"]["textclf"]
    ours["calibration"] /= 2
    for load in ours["closed"]:
        load["texts_per_second"] /= 2
    for load in (*ours["closed"], *ours["open"]):
        load["latency_ms"] = {name: 2 * value for name, value in load["latency_ms"].items()}

    assert [target.measured for target in list_targets(results)] == pytest.approx(before)


def test_what_was_not_measured_is_not_met(results: dict[str, Any]) -> None:
    """Without a system's figures there is no ratio, and the tables say so."""
    results["models"] = {REFERENCE: _model() | {"systems": {}, "lengths": [], "scaling": []}}

    targets = {target.what: target for target in list_targets(results)}

    assert targets["start to ready"].measured is None
    assert not targets["start to ready"].is_met
    assert "| start to ready | MiniLM-L6 (reference) | - | ≤ 3 s | - |" in render_results(results)


def test_tables_show_figures_and_verdicts(results: dict[str, Any]) -> None:
    """A pass, a miss, a peer's row, a prediction and a failure stand in the text."""
    results["models"][REFERENCE]["systems"]["FastAPI"]["failure"] = "FastAPI ended with 1\nlog"

    text = render_results(results)

    assert "| start to ready | MiniLM-L6 (reference) | 2.00 s | ≤ 3 s | pass |" in text
    assert "32 connections | RoBERTa-base size | 0.90 | ≥ 0.88 | pass |" in text
    assert "÷ limit of stock dynamic int8 | RoBERTa-base size | 0.80 | ≥ 0.95 | **miss** |" in text
    assert "| Flask, int8 | - | 200 (3.0) | 225 (3.0) | - | - | 0.45 | 0 |" in text
    assert "| 8 | 2000 | 4000 | 8000 | 16000 |" in text
    assert "| textclf | 2.0 / 5.0 | 0.95; 8; 3 |" in text
    assert "FastAPI was not measured to the end: FastAPI ended with 1\n" in text


@pytest.mark.parametrize(
    ("change", "is_met"),
    [
        ({}, True),
        ({"texts_per_second": 100.0}, False),
        ({"answers": {"200": 99, "500": 1}}, False),
    ],
    ids=["sound", "slow", "a failed request"],
)
def test_the_guard(results: dict[str, Any], change: dict[str, Any], is_met: bool) -> None:
    """It passes a sound service, and neither a slow one nor one that fails a request."""
    ours = results["models"][REFERENCE]["systems"]["textclf"]
    ours["open"][1] |= {"answers": {"200": 90, "429": 10}, "errors": {}}
    for load in ours["closed"]:
        load.update(change)

    guards = list_guards(results)

    assert all(guard.is_met for guard in guards) is is_met
    assert ("MISS" in render_guards(guards)) is not is_met


def test_tables_replace_what_stands_between_the_markers(tmp_path: Path) -> None:
    """The rest of the file stays as it is."""
    path = tmp_path / "README.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", "utf-8")

    write_between_markers(path, "new\n")

    assert path.read_text("utf-8") == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"


def test_a_file_without_markers_is_refused(tmp_path: Path) -> None:
    """Nothing is written into a file that has no place for it."""
    path = tmp_path / "README.md"
    path.write_text("no markers\n", "utf-8")

    with pytest.raises(BenchmarkError, match=r"README\.md has no <!-- results -->"):
        write_between_markers(path, "new")


def test_plots_are_drawn_of_what_was_measured(results: dict[str, Any], tmp_path: Path) -> None:
    """Five pictures a model; none of lengths that were not measured."""
    del results["models"][LARGE]["lengths"]

    names = {path.name for path in draw_plots(results, tmp_path)}

    assert len(names) == 9
    assert "throughput-minilm-l6-reference.svg" in names
    assert "limit-by-length-roberta-base-size.svg" not in names


def test_plots_are_shown_in_the_page(tmp_path: Path) -> None:
    """The page names each plot relative to itself; the one of padding needs no results."""
    plot = draw_padding(tmp_path / "results")

    assert show_plots([plot], tmp_path) == "![padding](results/padding.svg)\n\n"
    assert "first in, first out" in plot.read_text("utf-8")
