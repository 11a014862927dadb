#!/usr/bin/env python
"""Roll a candidate out, as long as the evidence holds; go back by itself when it turns."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from importlib import import_module
from typing import Any

from scripts._command import confirm, run_command
from scripts._rollout_arguments import INTERRUPTED, parse, settle
from scripts._rollout_setup import begin_asked, build_controller, find, require_possible
from textclf.errors import (
    PreflightError,
    RolledBackError,
    RolloutBusyError,
    RolloutStateError,
)
from textclf.rollout.engines import load_engine
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
    arguments = parse(sys.argv[1:] if argv is None else argv)
    commands = {"status": _status, "promote": _end, "abort": _end}
    work = commands.get(arguments.command, _roll_out)
    return run_command(lambda: _do(work, arguments), interrupted=INTERRUPTED, level=logging.WARNING)


def _do(work: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    try:
        return work(arguments)
    except SystemExit:
        print(f"stopped: {INTERRUPTED}", file=sys.stderr)
        raise


def _roll_out(arguments: argparse.Namespace) -> int:
    settle(arguments)
    store = Store(arguments.state)
    traffic = load_engine(arguments.traffic).build(arguments)
    with nullcontext() if arguments.dry_run else store.lock():
        asked = begin_asked(store, arguments, traffic)
        found = find(store, arguments, asked)
        state = found or asked
        require_possible(state.plan, traffic, arguments)
        print(_show_plan(state), file=sys.stdout if _is_dry_text(arguments) else sys.stderr)
        if arguments.dry_run:
            return _tell_dry(arguments, state, traffic)
        question = f"{'Go on with' if found else 'Begin'} this {state.plan.strategy}?"
        if not _confirm(arguments, question):
            return _DECLINED
        try:
            ended = build_controller(arguments, store, traffic, state).run(state)
        except PreflightError as exc:
            _write_records(store, store.load() or state, refused=str(exc))
            raise
        return _tell_end(arguments, store, ended)


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
    return confirm(question, yes=arguments.yes, refused="nothing was moved")


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
    settle(command)
    traffic = load_engine(command.traffic).build(command)
    if state is None:
        traffic.move(ALL_STABLE)
        print(f"traffic is at {describe(traffic.read())}")
        return 0
    controller = build_controller(command, store, traffic, state)
    return _tell_end(arguments, store, controller.end(state, arguments.command))


if __name__ == "__main__":
    sys.exit(main())
