#!/usr/bin/env python
"""Roll a candidate out, as long as the evidence holds; go back by itself when it turns."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from typing import Any

from scripts._command import run_command
from scripts._rollout_arguments import INTERRUPTED, PARTS, parse
from textclf.errors import (
    PlanError,
    PreflightError,
    RolledBackError,
    RolloutBusyError,
    RolloutError,
    RolloutStateError,
)
from textclf.rollout import metrics
from textclf.rollout.controller import Controller, begin
from textclf.rollout.engines import load_engine
from textclf.rollout.evidence import Sources
from textclf.rollout.plan import Plan, default_plan, read_plan
from textclf.rollout.preflight import check_candidate, describe_version, find_unready
from textclf.rollout.recording import RecorderProcess, read_known_labels
from textclf.rollout.stages import ALL_STABLE, describe, last_weights, list_stages
from textclf.rollout.state import State
from textclf.rollout.store import Store
from textclf.rollout.traffic.traffic import Traffic
from textclf.rollout.verdict import make_verdict, render_verdict
from textclf.tables import text_table

_DECLINED = 1
_HEARD_SECONDS = 120.0


def main(argv: Sequence[str] | None = None) -> int:
    """Do what ``argv`` asks and return the exit code."""
    line = list(sys.argv[1:] if argv is None else argv)
    arguments = parse(line)
    commands = {"status": _status, "promote": _end, "abort": _end}
    work = commands.get(arguments.command, partial(_roll_out, line=line))
    return run_command(lambda: _do(work, arguments), interrupted=INTERRUPTED, level=logging.WARNING)


def _do(work: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    try:
        return work(arguments)
    except SystemExit:
        print(f"stopped: {INTERRUPTED}", file=sys.stderr)
        raise


def _roll_out(arguments: argparse.Namespace, line: Sequence[str]) -> int:
    store = Store(arguments.state)
    traffic = load_engine(arguments.traffic).build(arguments)
    with nullcontext() if arguments.dry_run else store.lock():
        found = _find(store, arguments)
        state = found or _begin(arguments, traffic, line)
        _require_possible(state.plan, traffic, arguments)
        print(_show_plan(state), file=sys.stdout if _is_dry_text(arguments) else sys.stderr)
        if arguments.dry_run:
            return _tell_dry(arguments, state, traffic)
        question = f"{'Go on with' if found else 'Begin'} this {state.plan.strategy}?"
        if state.outcome is None and not _confirm(arguments, question):
            return _DECLINED
        try:
            ended = _controller(arguments, store, traffic).run(state)
        except PreflightError as exc:
            _write_records(store, store.load() or state, refused=str(exc))
            raise
        return _tell_end(arguments, store, ended)


def _find(store: Store, arguments: argparse.Namespace) -> State | None:
    """Return the rollout that this is the same as, or None if it begins."""
    state = store.load()
    if state is None:
        return None
    if state.outcome is not None and arguments.new:
        if not arguments.dry_run:
            print(f"set aside: {store.set_aside(state)}", file=sys.stderr)
        return None
    differences = [
        part
        for part in PARTS
        if getattr(arguments, part)
        != (state.versions[part].name if part in state.versions else None)
    ]
    differences += [] if state.plan.strategy == arguments.command else ["strategy"]
    differences += [] if state.traffic == arguments.traffic else ["engine"]
    differences += ["recorder"] if state.records_pairs and not arguments.recorder else []
    if arguments.plan and read_plan(arguments.plan) != state.plan:
        differences.append("plan")
    if differences:
        ended = "has ended: add --new" if state.outcome else "is under way: end that with `abort`"
        raise RolloutStateError(
            f"{store.folder} has another rollout, of another {', '.join(differences)}, which "
            f"{ended}, or name another folder with --state"
        )
    return state


def _begin(arguments: argparse.Namespace, traffic: Traffic, line: Sequence[str]) -> State:
    records_pairs = arguments.recorder is not None
    if arguments.plan:
        plan = read_plan(arguments.plan)
        if plan.strategy != arguments.command:
            raise PlanError(
                f"{arguments.plan} is for strategy {plan.strategy}; run that, or change the plan"
            )
    else:
        plan = default_plan(
            arguments.command,
            mirrors=traffic.mirrors and records_pairs,
            has_baseline=traffic.has_baseline,
        )
    versions = {
        part: describe_version(name, _url(arguments, part), getattr(arguments, f"{part}_digest"))
        for part in PARTS
        if (name := getattr(arguments, part))
    }
    return begin(
        plan,
        traffic=arguments.traffic,
        versions=versions,
        records_pairs=records_pairs,
        command=line,
        now=time.time(),
    )


def _require_possible(plan: Plan, traffic: Traffic, arguments: argparse.Namespace) -> None:
    faults = []
    if plan.shadow and not traffic.mirrors:
        faults.append(f"shadow: engine {traffic.name} mirrors nothing; with nginx, name --recorder")
    if plan.baseline and not (traffic.has_baseline and arguments.baseline):
        faults.append(
            "baseline: there is none; name a fresh copy of the stable version, --baseline"
        )
    faults += [
        f"{part}: {getattr(arguments, part)} is no URL; name --{part}-url, where it can be asked"
        for part in ("stable", "candidate")
        if not _url(arguments, part)
    ]
    if faults:
        raise PlanError("\n".join(["the plan cannot be carried out:", *faults]))


def _controller(arguments: argparse.Namespace, store: Store, traffic: Traffic) -> Controller:
    urls = {part: url for part in PARTS if (url := _url(arguments, part))}
    pairs = None
    if arguments.recorder:
        pairs = RecorderProcess(
            arguments.recorder,
            urls,
            store.folder,
            sample_percent=arguments.sample_percent,
            known_labels=read_known_labels(arguments.labels) if arguments.labels else None,
        )
    asked = argparse.Namespace(**vars(arguments) | {part: urls.get(part) for part in PARTS})
    stable, candidate = urls.get("stable", ""), urls.get("candidate", "")
    return Controller(
        store=store,
        sources=Sources(
            traffic=traffic,
            metrics=metrics.build(asked),
            pairs=pairs,
            find_unready=lambda: find_unready(candidate),
        ),
        preflight=lambda: check_candidate(stable, candidate, arguments.model),
        tell=_tell,
    )


def _url(arguments: argparse.Namespace, part: str) -> str:
    """Return where a version is asked, which an engine may know by another name."""
    name = getattr(arguments, part) or ""
    return getattr(arguments, f"{part}_url") or (name if name.startswith("http") else "")


def _show_plan(state: State) -> str:
    rows = [("stage", "traffic", "at least", "then, for evidence, at most")]
    for stage in list_stages(state.plan, records_pairs=state.records_pairs):
        pairs = stage.kind in {"noise", "shadow"} and state.records_pairs
        needed = f"{stage.pause_seconds:g} s, {stage.minimum} {'pairs' if pairs else 'requests'}"
        checks = stage.kind == "preflight"
        limit = "" if checks else f"{stage.hold_limit_seconds:g} s"
        rows.append((stage.name, describe(stage.weights), "" if checks else needed, limit))
    rows.append(("end", describe(last_weights(state.plan)), "", ""))
    return text_table(rows)


def _is_dry_text(arguments: argparse.Namespace) -> bool:
    return bool(arguments.dry_run and not arguments.json)


def _tell_dry(arguments: argparse.Namespace, state: State, traffic: Traffic) -> int:
    present = traffic.read()
    if arguments.json:
        print(render_verdict(make_verdict(state, ()) | {"dry_run": True}), end="")
    print(f"traffic is at {describe(present)}; nothing was moved", file=sys.stderr)
    return 0


def _confirm(arguments: argparse.Namespace, question: str) -> bool:
    if arguments.yes:
        return True
    if not sys.stdin.isatty():
        raise RolloutError(
            "nobody can be asked whether to move traffic, since standard input is no terminal; "
            "check with --dry-run, then give --yes"
        )
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() in {"y", "yes"}:
        return True
    print("nothing was moved", file=sys.stderr)
    return False


def _write_records(store: Store, state: State, *, refused: str = "") -> dict[str, Any]:
    verdict = make_verdict(state, store.looks(), refused=refused)
    store.write("verdict.json", render_verdict(verdict))
    # It draws, and takes longer to import than `status` may take.
    report = import_module("textclf.rollout.report")
    store.write("report.html", report.render_report(verdict))
    return verdict


def _tell_end(arguments: argparse.Namespace, store: Store, state: State) -> int:
    verdict = _write_records(store, state)
    if arguments.json:
        print(render_verdict(verdict), end="")
    if state.outcome == "rolled back" and arguments.command != "abort":
        raise RolledBackError(
            f"all traffic is the stable version's: {state.reason}; see {store.folder}/report.html"
        )
    if not arguments.json:
        print(f"{state.outcome}: {state.reason}\nrecorded in {store.folder}/report.html")
    return 0


def _tell(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _status(arguments: argparse.Namespace) -> int:
    store = Store(arguments.state)
    state = store.load()
    if state is None:
        raise RolloutStateError(f"{store.folder} has no rollout; name its folder with --state")
    verdict = make_verdict(state, store.looks()) | {"controlled": store.is_locked()}
    if arguments.json:
        print(render_verdict(verdict), end="")
        return 0
    stage = list_stages(state.plan, records_pairs=state.records_pairs)[state.position]
    moving = f", moving to {describe(state.intent.weights)}" if state.intent else ""
    rows = [
        ("rollout", f"{state.plan.strategy} {state.rollout}"),
        *((part, f"{version.name} {version.model}") for part, version in state.versions.items()),
        ("stands at", state.outcome or stage.name),
        ("because", state.reason),
        ("traffic", describe(state.weights) + moving),
        ("candidate", f"{verdict['candidate_requests']} requests answered"),
        ("controller", "runs" if verdict["controlled"] else "does not run"),
    ]
    print(text_table(rows))
    return 0


def _end(arguments: argparse.Namespace) -> int:
    store, command = Store(arguments.state), arguments.command
    state = store.load()
    known = state is not None or (command == "abort" and arguments.traffic)
    if not known:
        raise RolloutStateError(f"{store.folder} has no rollout; name its folder with --state")
    goal = ALL_STABLE if command == "abort" or state is None else last_weights(state.plan)
    print(f"{command}: traffic goes to {describe(goal)}", file=sys.stderr)
    if arguments.dry_run:
        return 0
    if not _confirm(arguments, f"{command.capitalize()} the rollout?"):
        return _DECLINED
    asked, until = False, time.monotonic() + _HEARD_SECONDS
    while True:
        try:
            with store.lock():
                return _end_alone(arguments, store, asked=asked)
        except RolloutBusyError:
            if (asked and store.asked() is None and store.is_unended()) or time.monotonic() > until:
                raise
            if not asked:
                store.ask(command)
            asked = True
            time.sleep(0.2)


def _end_alone(arguments: argparse.Namespace, store: Store, *, asked: bool) -> int:
    """End what no controller has; one that was asked may have ended it."""
    store.forget_request()
    state = store.load()
    command = parse(state.command) if state and not arguments.traffic else arguments
    if state and asked and state.outcome and state.by == "operator":
        return _tell_end(arguments, store, state)
    traffic = load_engine(command.traffic).build(command)
    if state is None:
        traffic.move(ALL_STABLE)
        print(f"traffic is at {describe(traffic.read())}")
        return 0
    controller = _controller(command, store, traffic)
    return _tell_end(arguments, store, controller.end(state, arguments.command))


if __name__ == "__main__":
    sys.exit(main())
