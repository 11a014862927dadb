"""What a candidate has to pass before traffic: contract, golden replay, every promise kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx

from textclf import store
from textclf.artifact import Artifact, read_artifact
from textclf.errors import ArtifactError, ArtifactMissingError, PreflightError
from textclf.image.checks.check import Check, Result
from textclf.image.checks.running import NO_IMAGE, Expected, check_url, select
from textclf.image.checks.subject import Limits
from textclf.rollout.openapi_diff import find_breaks
from textclf.rollout.state import Version

_TIMEOUT_SECONDS = 10.0
_READY_SECONDS = 5.0
_DOCUMENT = "/docs.json"
# The candidate's document is compared with the stable version's, not with a committed one.
_REPLACED = "openapi"


def check_candidate(stable: str, candidate: str, model: str = "") -> None:
    """Check a candidate that takes no traffic yet; it is sent some hundred requests.

    Args:
        stable: URL of the stable version.
        candidate: URL of the candidate.
        model: Store tag or folder of the model that it has to serve; empty for the stored one that
            it says it serves.

    Raises:
        PreflightError: It has faults; the message tells them all.
    """
    if unready := find_unready(candidate):
        raise PreflightError(f"{candidate} is not ready: {unready}; start it, or see its log")
    faults = [*_compare_documents(stable, candidate), *_replay(candidate, model)]
    if faults:
        lines = "\n".join(f"- {fault}" for fault in faults)
        raise PreflightError(f"{candidate} is not fit for traffic:\n{lines}")


def find_unready(url: str, model: str = "") -> str:
    """Return what keeps a version from taking requests; empty for nothing.

    Args:
        url: Where it answers.
        model: That it has to say it serves; empty for any.
    """
    try:
        response = httpx.get(f"{url.rstrip('/')}/readyz", timeout=_READY_SECONDS, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        return f"GET /readyz: {exc or type(exc).__name__}"
    if response.status_code != 200:
        return f"GET /readyz: status {response.status_code}"
    served = response.headers.get("x-model", "")
    other = bool(served and model and served != model)
    return f"it serves {served} now, not {model}" if other else ""


def describe_version(name: str, url: str, digest: str = "") -> Version:
    """Return a version with the model that it says it serves; one that does not answer has none.

    Args:
        name: As the engine knows it.
        url: Where it answers.
        digest: Of its image, if anybody said.
    """
    _, _, named = name.partition("@")
    version = Version(name=name, url=url, digest=digest or named)
    return version.model_copy(update={"model": _read_tag(url)})


def _read_tag(url: str) -> str:
    try:
        response = httpx.get(f"{url.rstrip('/')}/livez", timeout=_TIMEOUT_SECONDS, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL):
        return ""
    return str(response.headers.get("x-model", ""))


def _compare_documents(stable: str, candidate: str) -> list[str]:
    documents = []
    for url in (stable, candidate):
        try:
            documents.append(_read_document(url))
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as exc:
            return [f"{url}{_DOCUMENT} cannot be compared: {exc or type(exc).__name__}"]
    return [f"clients rely on this: {words}" for words in find_breaks(*documents)]


def _read_document(url: str) -> dict[str, Any]:
    response = httpx.get(f"{url.rstrip('/')}{_DOCUMENT}", timeout=_TIMEOUT_SECONDS, trust_env=False)
    document = response.raise_for_status().json()
    if not isinstance(document, dict) or not document.get("paths"):
        raise ValueError("it is no OpenAPI document with paths")
    return document


def _replay(candidate: str, model: str) -> list[str]:
    try:
        expected = _read_model(candidate, model)
    except ArtifactError as exc:
        return [f"its golden texts cannot be replayed: {exc}; import its model, or name it"]
    results = check_url(
        candidate,
        Expected(model=expected, openapi=None, base=None, limits=Limits()),
        _checks(),
    )
    return [fault for result in results if (fault := _judge(result))]


def _read_model(candidate: str, model: str) -> Artifact:
    tag = model or _read_tag(candidate)
    if not tag:
        raise ArtifactError(f"{candidate} does not say which model it serves")
    try:
        return read_artifact(store.resolve(tag))
    except ArtifactMissingError:
        reference = read_artifact(store.resolve(""))  # what is served where the store is empty
        if reference.tag != tag:
            raise
        return reference


def _checks() -> Sequence[Check]:
    return [check for check in select(()) if check.name != _REPLACED]


def _judge(result: Result) -> str:
    """Return what is wrong; what takes an image, which is not at hand, is no fault."""
    if result.outcome == "passed" or (result.outcome == "skipped" and result.detail == NO_IMAGE):
        return ""
    return f"{result.check.name}: {result.check.sentence} {result.detail}".strip()
