"""What a command line of scripts/rollout.py comes to: a rollout, begun or gone on with."""

from __future__ import annotations

import argparse
import sys
import time

from scripts._rollout_arguments import PARTS, read_settings, render
from textclf.errors import PlanError, RolloutStateError
from textclf.rollout import metrics
from textclf.rollout.controller import Controller
from textclf.rollout.evidence import Sources
from textclf.rollout.identity import begin, find_differences
from textclf.rollout.plan import Plan, default_plan, read_plan
from textclf.rollout.preflight import check_candidate, describe_version, find_unready
from textclf.rollout.recording import RecorderProcess, read_known_labels
from textclf.rollout.state import State
from textclf.rollout.store import Store
from textclf.rollout.traffic.traffic import Traffic


def find(store: Store, arguments: argparse.Namespace, asked: State) -> State | None:
    """Return the rollout under way that is asked for, or None if it begins.

    One that has moved nothing yet, since its candidate failed the preflight, gives way to another.

    Raises:
        RolloutStateError: It has ended, or another one is under way.
    """
    state = store.load()
    if state is None or (state.has_ended and arguments.new):
        return None
    if state.has_ended:
        raise RolloutStateError(
            f"{store.folder} has a rollout that has ended: {state.outcome}; nothing was done now. "
            "Add --new to begin another, or name another folder with --state"
        )
    differences = find_differences(state, asked)
    if differences and state.has_moved:
        raise RolloutStateError(
            f"{store.folder} has another rollout: here it is {'; '.join(differences)}. That one is "
            "under way: end it with `abort`, or name another folder with --state"
        )
    return None if differences else state


def begin_asked(store: Store, arguments: argparse.Namespace, traffic: Traffic) -> State:
    """Return the rollout that is asked for, as if it began now; it keeps the plan that it has.

    Raises:
        PlanError: The plan is of another strategy, or cannot be read.
    """
    records_pairs = arguments.recorder is not None
    there = store.load()
    if arguments.plan:
        plan = read_plan(arguments.plan)
        if plan.strategy != arguments.command:
            raise PlanError(
                f"{arguments.plan} is for strategy {plan.strategy}; run that, or change the plan"
            )
    elif (
        there
        and there.has_moved
        and not there.has_ended
        and there.plan.strategy == arguments.command
    ):
        plan = there.plan
    else:
        plan = default_plan(
            arguments.command,
            mirrors=traffic.mirrors and records_pairs,
            has_baseline=traffic.has_baseline,
        )
    versions = {
        part: describe_version(name, url_of(arguments, part), getattr(arguments, f"{part}_digest"))
        for part in PARTS
        if (name := getattr(arguments, part))
    }
    return begin(
        plan,
        traffic=arguments.traffic,
        versions=versions,
        records_pairs=records_pairs,
        settings=read_settings(arguments),
        command=render(arguments),
        now=time.time(),
    )


def require_possible(plan: Plan, traffic: Traffic, arguments: argparse.Namespace) -> None:
    """Refuse a plan that the engine or the command line has no means for.

    Raises:
        PlanError: It cannot be carried out; the message tells every reason.
    """
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
        if not url_of(arguments, part)
    ]
    if faults:
        raise PlanError("\n".join(["the plan cannot be carried out:", *faults]))


def build_controller(
    arguments: argparse.Namespace, store: Store, traffic: Traffic, state: State
) -> Controller:
    """Return what carries a rollout out."""
    urls = {part: url for part in PARTS if (url := url_of(arguments, part))}
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
    model = state.versions["candidate"].model
    counted = metrics.build(asked)
    if isinstance(traffic, metrics.PassesOver):
        counted = metrics.MetricsPassedOver(counted, traffic)
    return Controller(
        store=store,
        sources=Sources(
            traffic=traffic,
            metrics=counted,
            pairs=pairs,
            find_unready=lambda: find_unready(candidate, model),
        ),
        preflight=lambda: check_candidate(stable, candidate, arguments.model),
        find_stable_unready=lambda: find_unready(stable),
        tell=_tell,
    )


def url_of(arguments: argparse.Namespace, part: str) -> str:
    """Return where a version is asked, which an engine may know by another name."""
    name = getattr(arguments, part) or ""
    return getattr(arguments, f"{part}_url") or (name if name.startswith("http") else "")


def _tell(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)
