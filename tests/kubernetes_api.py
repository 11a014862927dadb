"""An API server with one Deployment and one Rollout, and what Argo Rollouts makes of them.

It stands in for a cluster behind the real kubectl. What its controller does follows
rollout/canary.go in argoproj/argo-rollouts: other steps or another image begin at the first step,
the stable image takes none, and what has no step left is promoted.
"""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_KINDS = {
    "/apis/apps/v1": ("deployments", "Deployment"),
    "/apis/argoproj.io/v1alpha1": ("rollouts", "Rollout"),
}
_ANSWER_BEFORE_SEEN = 1


@dataclass
class Cluster:
    """What is there.

    Attributes:
        image: That the template names.
        steps: Of the canary.
        url: Of the API.
        strategy: Of the rollout.
        broken: Images whose pods never get ready.
        asleep: Whether Argo Rollouts does not run.
        writes: Each patch that changed something, in order.
    """

    image: str
    steps: list[dict[str, Any]]
    url: str = ""
    strategy: str = "canary"
    broken: set[str] = field(default_factory=set)
    asleep: bool = False
    writes: list[str] = field(default_factory=list)
    generation: int = 1
    workload_generation: int = 1
    status: dict[str, Any] = field(default_factory=dict)
    _unseen: int = 0
    _stable: str = ""

    def __post_init__(self) -> None:
        """Begin with the image promoted."""
        self._stable = self.image
        self._see(at_step=len(self.steps))

    def get(self, resource: str) -> dict[str, Any]:
        """Return a resource; Argo Rollouts sees a change some time after it was made."""
        if resource == "deployments":
            containers = [{"name": "textclf", "image": self.image}]
            return {
                "metadata": {"name": "textclf", "generation": self.workload_generation},
                "spec": {"template": {"spec": {"containers": containers}}},
            }
        if self._unseen and not self.asleep:
            self._unseen -= 1
            if not self._unseen:
                self._see(at_step=len(self.steps) if self.image == self._stable else 0)
        canary = {"trafficRouting": {"plugins": {}}, "steps": self.steps}
        return {
            "metadata": {"name": "textclf", "generation": self.generation},
            "spec": {"workloadRef": {"name": "textclf"}, "strategy": {self.strategy: canary}},
            "status": self.status,
        }

    def patch(self, resource: str, patch: dict[str, Any]) -> None:
        """Merge a patch."""
        if resource == "deployments":
            (container,) = patch["spec"]["template"]["spec"]["containers"]
            if container["image"] != self.image:
                self.image = container["image"]
                self.workload_generation += 1
                self._changed(f"image {self.image[-1]}")
        elif patch["spec"]["strategy"]["canary"]["steps"] != self.steps:
            self.steps = patch["spec"]["strategy"]["canary"]["steps"]
            self.generation += 1
            self._changed(f"steps {json.dumps(self.steps)}")

    def promote(self, image: str) -> None:
        """Have an image promoted by whoever else did so."""
        self.image = self._stable = image
        self._see(at_step=len(self.steps))

    def _changed(self, what: str) -> None:
        self.writes.append(what)
        self._unseen = 1 + _ANSWER_BEFORE_SEEN

    def _see(self, *, at_step: int) -> None:
        weight, phase, message = 0, "Healthy", ""
        if self.image in self.broken:
            phase, message = "Degraded", "ProgressDeadlineExceeded: pods are not ready"
        else:
            for step in self.steps[at_step:]:
                weight = step.get("setWeight", weight)
                if "pause" in step:
                    phase, message = "Paused", "CanaryPauseStep"
                    break
            else:
                self._stable, weight = self.image, 0
        self.status = {
            "observedGeneration": str(self.generation),
            "workloadObservedGeneration": str(self.workload_generation),
            "currentPodHash": self.image[-10:],
            "stableRS": self._stable[-10:],
            "canary": {
                "weights": {"canary": {"weight": weight}, "stable": {"weight": 100 - weight}}
            },
            "phase": phase,
            "message": message,
        }


@contextmanager
def serve(cluster: Cluster, kubeconfig: Path) -> Iterator[None]:
    """Answer kubectl for a while, and write how to reach it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(*_read(cluster, self.path))

        def do_PATCH(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            cluster.patch(self.path.partition("?")[0].split("/")[-2], body)
            self._answer(*_read(cluster, self.path))

        def log_message(self, *_arguments: object) -> None:
            pass

        def _answer(self, status: int, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        cluster.url = f"http://127.0.0.1:{server.server_address[1]}"
        kubeconfig.write_text(json.dumps(_kubeconfig(cluster.url)))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def _kubeconfig(url: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": {"server": url}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "anyone"}}],
        "users": [{"name": "anyone", "user": {"token": "none"}}],
        "current-context": "here",
    }


def _read(cluster: Cluster, path: str) -> tuple[int, dict[str, Any]]:
    path = path.partition("?")[0]
    if path == "/api":
        return 200, {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        return 200, {"kind": "APIGroupList", "groups": [_group(name) for name in _KINDS]}
    if path == "/api/v1":
        return 200, {"kind": "APIResourceList", "groupVersion": "v1", "resources": []}
    if path in _KINDS:
        return 200, _resources(path)
    parts = path.split("/")
    if parts[-1] == "textclf":
        kind = dict(_KINDS.values())[parts[-2]]
        version = "/".join(parts[2:4])
        return 200, {"apiVersion": version, "kind": kind, **cluster.get(parts[-2])}
    return 404, {"kind": "Status", "status": "Failure", "code": 404, "message": f"no {parts[-1]}"}


def _group(path: str) -> dict[str, Any]:
    name, version = path.split("/")[2:]
    versions = [{"groupVersion": f"{name}/{version}", "version": version}]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def _resources(path: str) -> dict[str, Any]:
    plural, kind = _KINDS[path]
    resource = {
        "name": plural,
        "singularName": "",
        "kind": kind,
        "namespaced": True,
        "verbs": ["get", "patch"],
    }
    group_version = "/".join(path.split("/")[2:])
    return {"kind": "APIResourceList", "groupVersion": group_version, "resources": [resource]}
