"""What kustomize makes of deploy/kubernetes, and what schemas find wrong with it."""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]
import yaml

from tests.conftest import require_kubectl
from tests.http.serving import PROJECT

FOLDER = PROJECT / "deploy" / "kubernetes"
SCHEMAS = Path(__file__).parent / "schemas"
OVERLAYS = ("base", "argo/canary", "argo/bluegreen", "argo/shadow")
KUBERNETES = ("1.32", kubernetes_validate.latest_version())

Manifest = dict[str, Any]


@functools.cache
def _render(overlay: str) -> str:
    command = ["kubectl", "kustomize", str(FOLDER / overlay)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def build(overlay: str) -> list[Manifest]:
    """Return what applying an overlay would create."""
    require_kubectl()
    return list(yaml.safe_load_all(_render(overlay)))


def find(manifests: list[Manifest], kind: str, name: str = "textclf") -> Manifest:
    """Return the one manifest of a kind and name."""
    (found,) = (m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name)
    return found


def faults(manifest: Manifest) -> Iterator[str]:
    """Yield what the schema of its kind finds wrong with a manifest."""
    own = SCHEMAS / f"{manifest['kind']}.json"
    if not own.exists():
        yield from _kubernetes_faults(manifest)
        return
    validator = jsonschema.Draft7Validator(json.loads(own.read_text("utf-8")))
    yield from (f"{e.json_path}: {e.message}" for e in validator.iter_errors(manifest))
    for job in jobs(manifest):
        yield from _kubernetes_faults(job)


def jobs(manifest: Manifest) -> list[Manifest]:
    """Return the Jobs that an analysis would create."""
    if manifest["kind"] != "AnalysisTemplate":
        return []
    providers = [metric["provider"] for metric in manifest["spec"]["metrics"]]
    return [
        {"apiVersion": "batch/v1", "kind": "Job", **provider["job"]}
        for provider in providers
        if "job" in provider
    ]


def _kubernetes_faults(manifest: Manifest) -> Iterator[str]:
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as exc:
            yield f"Kubernetes {version}: {exc.json_path}: {exc.message}"
