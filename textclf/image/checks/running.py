"""Runs the checks side by side, and keeps what came of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from tqdm import tqdm

from textclf.artifact import Artifact
from textclf.errors import CheckFailedError
from textclf.image.checks import answers, contents, contract, network, operation, safety
from textclf.image.checks.check import CHECKS, ORDER, Check, Flaw, Result, Unjudged
from textclf.image.checks.container import Containers
from textclf.image.checks.layers import read_contents
from textclf.image.checks.pulling import find_base
from textclf.image.checks.subject import PORT, Image, Limits, Service, Subject

# Their functions are the checks.
MODULES = (contract, answers, safety, contents, network, operation)
NO_IMAGE = "--url names a running service, not an image"
NEVER_READY = "the service never became ready"
_CHECKS_AT_ONCE = 24  # most of them wait: for docker, for a container, for each other
_QUIET_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What is to be found.

    Attributes:
        model: The classifier folder whose golden texts are replayed.
        openapi: The OpenAPI document.
        base: Reference of the base image; None for the one that a label names.
        limits: What the image may take.
    """

    model: Artifact
    openapi: Any
    base: str | None
    limits: Limits


def select(names: Sequence[str]) -> list[Check]:
    """Return the checks of these names, or all of them for none, in the order of their classes.

    Raises:
        CheckFailedError: There is no check of one of the names.
    """
    known = {check.name for check in CHECKS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise CheckFailedError(f"there is no check {', '.join(unknown)}; --list shows them all")
    chosen = [check for check in CHECKS if not names or check.name in names]
    return sorted(chosen, key=lambda check: ORDER.index(check.kind))


def check_url(url: str, expected: Expected, checks: Sequence[Check]) -> list[Result]:
    """Check a running service; what takes an image is skipped."""
    with Service(url) as service:
        return run(checks, _subject(expected, service, NO_IMAGE))


def check_image(
    described: dict[str, Any], expected: Expected, checks: Sequence[Check]
) -> list[Result]:
    """Check an image of this daemon; no container of it is left.

    Args:
        described: What `docker image inspect` says of it.
        expected: What is to be found.
        checks: The checks to make.

    Raises:
        DockerError: Docker cannot run it.
    """
    with (
        _containers(described["Id"], expected.limits) as containers,
        containers.run(environment={}) as shared,
        Service(shared.url) as service,
    ):
        start = shared.wait_until_ready()
        base = partial(find_base, described, expected.base)
        image = Image(
            described=described,
            containers=containers,
            shared=shared,
            start=start,
            base=base,
            read_contents=lambda: read_contents(described, base(), closing=containers.closing),
        )
        running = service if start.seconds is not None else NEVER_READY
        return run(checks, _subject(expected, running, image), containers)


def _subject(expected: Expected, running: Service | str, built: Image | str) -> Subject:
    return Subject(
        expected=expected.model,
        openapi=expected.openapi,
        limits=expected.limits,
        running=running,
        built=built,
    )


@contextmanager
def _containers(image_id: str, limits: Limits) -> Iterator[Containers]:
    containers = Containers(image_id, port=PORT, start_limit_seconds=limits.start_limit_seconds)
    try:
        yield containers
    finally:
        containers.close()


def run(
    checks: Sequence[Check], subject: Subject, containers: Containers | None = None
) -> list[Result]:
    """Run checks side by side and return their results in the same order.

    Interrupted, it removes the containers at once, which ends the checks that wait for them.
    """
    pool = ThreadPoolExecutor(_CHECKS_AT_ONCE)
    try:
        # Those of operation take longest, and begin first.
        running = {pool.submit(run_one, check, subject): check for check in reversed(checks)}
        progress = tqdm(
            as_completed(running),
            "checking",
            total=len(running),
            delay=_QUIET_SECONDS,
            disable=None,
            leave=False,
        )
        results = {running[done].name: done.result() for done in progress}
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        if containers:
            containers.close()
        raise
    finally:
        pool.shutdown()
    return [results[check.name] for check in checks]


def run_one(check: Check, subject: Subject) -> Result:
    """Run one check; whatever it raises becomes its result."""
    began = time.monotonic()

    def result(outcome: Any, detail: str) -> Result:
        seconds = time.monotonic() - began
        return Result(check=check, outcome=outcome, detail=detail, seconds=seconds)

    try:
        return result("passed", check.run(subject) or "")
    except Flaw as exc:
        return result("failed", str(exc))
    except Unjudged as exc:
        return result("skipped", str(exc))
    except Exception as exc:  # noqa: BLE001 - a check that crashed is told, and has not passed
        return result("error", f"{type(exc).__name__}: {exc}")
