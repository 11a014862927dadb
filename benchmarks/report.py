"""Results as markdown. Pure, but for the file that the tables are written into."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.errors import BenchmarkError
from benchmarks.targets import Figures, Target, count_failures, find_load, list_targets
from textclf.tables import markdown_table

BEGIN, END = "<!-- results -->", "<!-- /results -->"
MORE_CORES = (4, 8, 16)
_MISSING = "-"
_BOTH = ("before", "after")

Results = Mapping[str, Any]


def render_results(results: Results) -> str:
    """Return everything that was measured as markdown."""
    parts = [_heading(results), _targets(list_targets(results))]
    for name, model in results["models"].items():
        parts += [f"### {name}", _closed(model), _open(model), *_limits(model), *_failed(model)]
    return "\n\n".join(part for part in parts if part) + "\n"


def render_guards(guards: Sequence[Target]) -> str:
    """Return a line for each bound, for a terminal."""
    return "\n".join(
        f"{'pass' if guard.is_met else 'MISS'}  {guard.what}: {_figure(guard.measured)}"
        f" ({_bound(guard)})"
        for guard in guards
    )


def show_plots(plots: Sequence[Path], folder: Path) -> str:
    """Return what shows the plots in a page of ``folder``."""
    return "".join(
        f"![{plot.stem.replace('-', ' ')}]({os.path.relpath(plot, folder)})\n\n" for plot in plots
    )


def write_between_markers(path: Path, content: str) -> None:
    """Replace what stands between the two markers in a file.

    Raises:
        BenchmarkError: The file lacks them.
    """
    text = path.read_text("utf-8") if path.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise BenchmarkError(f"{path} has no {BEGIN} … {END}; add the two lines and retry")
    path.write_text(f"{before}{BEGIN}\n\n{content.strip()}\n\n{END}{after}", "utf-8")


def _heading(results: Results) -> str:
    machine, versions, corpus = results["machine"], results["versions"], results["corpus"]
    peers = ", ".join(_peer_version(name, found) for name, found in versions["peers"].items())
    return (
        f"{results['started_at']}, {results['mode']} run of {results.get('seconds', 0) / 60:.0f} "
        f"minutes: {machine['cpu']}, {machine['cores']} cores, "
        f"VNNI {'yes' if machine['vnni'] else 'no'}, {machine['memory_gb']:g} GB, "
        f"Linux {machine['kernel']}, Python {versions['python']}, "
        f"onnxruntime {versions['textclf']['onnxruntime']}, textclf at {versions['commit']}. "
        f"Peers: {peers}. {corpus['texts']} texts of {corpus['file']}.\n\n"
        "A share of the limit divides by the mean of the limits that were measured just before and "
        "just after the system. Goodput counts accepted answers alone; p99 is in milliseconds."
    )


def _peer_version(name: str, versions: Mapping[str, str]) -> str:
    main = next((pin for pin in versions if pin.lower().startswith(name)), "")
    return f"{main} {versions[main]}" if main else name


def _targets(targets: Sequence[Target]) -> str:
    rows = [
        [
            target.what,
            target.model,
            _figure(target.measured, target.unit),
            _bound(target),
            _MISSING if target.measured is None else "pass" if target.is_met else "**miss**",
        ]
        for target in targets
    ]
    return markdown_table(["Target", "model", "measured", "asked", ""], rows)


def _closed(model: Results) -> str:
    figures = Figures(model)
    counts = sorted(
        {
            (load["texts_per_request"], load["connections"])
            for system in model["systems"].values()
            for load in system["closed"]
        }
    )
    head = [
        f"{count} conn." if texts == 1 else f"{count} x {texts} texts" for texts, count in counts
    ]
    rows = []
    for name, system in model["systems"].items():
        loads = [find_load(system, connections=count, texts=texts) for texts, count in counts]
        failures = sum(count_failures(load) for load in system["closed"])
        rows.append(
            [
                name,
                *map(_goodput, loads),
                _figure(figures.best_share(name)),
                str(failures),
                " / ".join(_megabytes(system, f"memory_{kind}_bytes") for kind in _BOTH),
                _figure(system.get("ready_seconds"), digits=1),
            ]
        )
    caption = "Closed loop: texts a second (p99 ms); resident MB before / after load, idle.\n\n"
    last = ["best ÷ limit", "failed", "MB", "ready s"]
    return caption + markdown_table(["System", *head, *last], rows) if rows else ""


def _goodput(load: Results) -> str:
    if not load:
        return _MISSING
    p99 = load["latency_ms"].get("p99")
    shown = f"{load['texts_per_second']:.0f}"
    return shown if p99 is None else f"{shown} ({p99:.{0 if p99 >= 10 else 1}f})"


def _open(model: Results) -> str:
    shares = sorted(
        {load["share"] for system in model["systems"].values() for load in system["open"]}
    )
    head = [
        f"{share:.0%}: p50 / p99" if share <= 1 else f"{share:.0%}: goodput; 429; other failures"
        for share in shares
    ]
    rows = []
    for name, system in model["systems"].items():
        loads = {load["share"]: load for load in system["open"]}
        if loads:
            rows.append([name, *(_open_figure(loads.get(share)) for share in shares)])
    caption = (
        "Open loop, Poisson arrivals at a share of the system's own maximum: latency in ms from "
        "the scheduled moment; goodput as a share of the maximum.\n\n"
    )
    return caption + markdown_table(["System", *head], rows) if rows else ""


def _open_figure(load: Results | None) -> str:
    if not load or not load["rate_per_second"]:
        return _MISSING
    failures, busy = count_failures(load), load["answers"].get("429", 0)
    if load["share"] > 1:
        maximum = load["rate_per_second"] / load["share"]
        return f"{load['goodput_per_second'] / maximum:.2f}; {busy}; {failures - busy}"
    latency = load["latency_ms"]
    failed = f", {failures} failed" if failures else ""
    if not latency:
        return _MISSING + failed
    return f"{latency['p50']:.1f} / {latency['p99']:.1f}{failed}"


def _limits(model: Results) -> Iterator[str]:
    rows = []
    for name, limit in (("served", model["limit"]), ("stock dynamic int8", model["stock"])):
        setting = limit["setting"]
        shape = f"{setting['callers']} x {setting['threads']}, {setting['batch_texts']} texts"
        single = min(limit["single"], key=lambda trial: trial["median_ms"])
        rows.append(
            [
                name,
                f"{limit['texts_per_second']:.0f}",
                shape,
                f"{single['median_ms']:.2f} / {single['p99_ms']:.2f} ({single['threads']})",
                f"{limit['mean_tokens']:.1f}",
            ]
        )
    head = [
        "In-process limit",
        "texts/s",
        "callers x threads, batch",
        "one text, ms: p50 / p99 (threads)",
    ]
    yield markdown_table([*head, "mean tokens"], rows)
    calibrations = model["calibrations"]
    yield (
        f"The limit drifted between {min(calibrations):.0f} and {max(calibrations):.0f} texts/s "
        f"over {len(calibrations)} calibrations."
    )
    yield _by_length(model)
    yield _scaling(model)
    padding = model["systems"].get("textclf", {}).get("padding_share")
    if padding is not None:
        yield f"Padding: {padding:.1%} of the tokens that textclf ran under all these loads."


def _by_length(model: Results) -> str:
    cores = model["limit"]["setting"]["callers"] * model["limit"]["setting"]["threads"]
    rows = [
        [
            str(found["tokens"]),
            f"{found['texts_per_second']:.0f}",
            *(f"{found['texts_per_second'] / cores * more:.0f}" for more in MORE_CORES),
        ]
        for found in model.get("lengths", [])
    ]
    head = [f"{more} cores" for more in MORE_CORES]
    caption = (
        "Limit by length, texts/s; more cores are a prediction: the same rate a core, as if "
        "memory and clock did not slow down.\n\n"
    )
    return (
        caption + markdown_table(["Tokens", f"{cores} cores, measured", *head], rows)
        if rows
        else ""
    )


def _scaling(model: Results) -> str:
    rows = []
    for step in model.get("scaling", []):
        served, limit = step.get("texts_per_second"), step["limit_texts_per_second"]
        share = None if served is None else served / limit
        rows.append([str(step["cpus"]), _figure(served, digits=0), f"{limit:.0f}", _figure(share)])
    head = ["textclf on cores", "32 conn., texts/s", "limit", "share"]
    return markdown_table(head, rows) if rows else ""


def _failed(model: Results) -> Iterator[str]:
    for name, system in model["systems"].items():
        if system["failure"]:
            first = system["failure"].splitlines()[0]
            yield f"{name} was not measured to the end: {first}"


def _megabytes(system: Results, name: str) -> str:
    found = system.get(name)
    return _MISSING if found is None else f"{found / 1e6:.0f}"


def _figure(value: float | None, unit: str = "", digits: int = 2) -> str:
    if value is None:
        return _MISSING
    digits = 0 if unit == "MB" else digits
    return f"{value:.{digits}f} {unit}".strip()


def _bound(target: Target) -> str:
    return f"{'≤' if target.is_cost else '≥'} {target.bound:g} {target.unit}".strip()
