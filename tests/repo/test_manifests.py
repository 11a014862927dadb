"""deploy/kubernetes is valid, fits together, and runs the image as docs/image.md does."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from bentoml._internal.container.generate import BENTO_UID_GID

from tests.repo.manifests import FOLDER, OVERLAYS, Manifest, build, faults, find, jobs
from textclf.rollout.budgets import Budgets
from textclf.rollout.plan import Step, default_plan
from textclf.settings import Settings

ARGO = OVERLAYS[1:]
SERVING = {"app.kubernetes.io/name": "textclf"}
MISTAKES = [
    ("Deployment", ("spec", "template", "spec", "containers", 0), "readyProbe"),
    ("HorizontalPodAutoscaler", ("spec",), "minReplica"),
    ("Rollout", ("spec", "strategy", "canary", "steps", 0), "setWeights"),
    ("Rollout", ("spec", "workloadRef"), "scaleUp"),
    ("AnalysisTemplate", ("spec", "metrics", 0), "failureLimits"),
    ("ServiceMonitor", ("spec", "endpoints", 0), "scrapeInterval"),
    ("HTTPRoute", ("spec", "rules", 0, "filters", 0, "requestMirror"), "percentage"),
]


def pod(overlay: str) -> Manifest:
    """Return the template of the pods that serve."""
    return dict(find(build(overlay), "Deployment")["spec"]["template"])


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    """Say whether pods with these labels are selected."""
    return selector.items() <= labels.items()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_manifests_are_valid(overlay: str) -> None:
    """Each is what the schema of its kind allows, and nothing that it does not know."""
    assert [fault for manifest in build(overlay) for fault in faults(manifest)] == []


@pytest.mark.parametrize(
    ("kind", "place", "mistake"), MISTAKES, ids=[f"{m[0]} {m[2]}" for m in MISTAKES]
)
def test_a_mistake_is_found(kind: str, place: tuple[Any, ...], mistake: str) -> None:
    """A name with a slip of the pen is refused; Kubernetes would drop it in silence."""
    manifest = copy.deepcopy(next(m for m in build("argo/canary") if m["kind"] == kind))
    spot = manifest
    for step in place:
        spot = spot[step]
    spot[mistake] = "oops"

    assert any(mistake in fault for fault in faults(manifest))


def test_a_mistake_in_an_analysis_job_is_found() -> None:
    """A Job within an analysis is judged as one of Kubernetes."""
    template = copy.deepcopy(find(build("argo/canary"), "AnalysisTemplate", "textclf-pairs"))
    template["spec"]["metrics"][0]["provider"]["job"]["spec"]["backoffLimits"] = 1

    assert any("backoffLimits" in fault for fault in faults(template))


def test_probes_ask_what_the_service_answers() -> None:
    """Only readiness depends on the model: starting anew would not mend it."""
    (container,) = pod("base")["spec"]["containers"]
    probes = {name: container[f"{name}Probe"] for name in ("startup", "readiness", "liveness")}

    assert {name: probe["httpGet"]["path"] for name, probe in probes.items()} == {
        "startup": "/livez",
        "readiness": "/readyz",
        "liveness": "/livez",
    }
    assert probes["startup"]["periodSeconds"] * probes["startup"]["failureThreshold"] >= 60


def test_there_is_time_to_drain() -> None:
    """A pod is killed only after its last request had the longest time that a request may take."""
    spec = pod("base")["spec"]
    before = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    settings = Settings()

    assert before > 0
    assert spec["terminationGracePeriodSeconds"] >= (
        before + settings.drain_seconds + settings.request_timeout_seconds + 5
    )


def test_pods_may_do_nothing_but_serve() -> None:
    """The image's user, nothing to write but /tmp, no rights, no token, no foreign settings."""
    for template in (pod("base"), *_job_templates()):
        spec = template["spec"]
        (container,) = spec["containers"]

        assert spec["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": BENTO_UID_GID,
            "runAsGroup": BENTO_UID_GID,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]  # noqa: S108
        assert spec["volumes"][0]["emptyDir"]["sizeLimit"]
        assert set(container["resources"]) == {"requests", "limits"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False  # TEXTCLF_PORT would be refused as a setting


def _job_templates() -> list[Manifest]:
    template = find(build("argo/canary"), "AnalysisTemplate", "textclf-pairs")
    return [job["spec"]["template"] for job in jobs(template)]


def test_serving_reaches_nothing() -> None:
    """No policy lets a serving pod out, and one keeps it in."""
    for overlay in OVERLAYS:
        policies = [m["spec"] for m in build(overlay) if m["kind"] == "NetworkPolicy"]
        ours = [p for p in policies if selects(p["podSelector"]["matchLabels"], SERVING)]

        assert [(policy["policyTypes"], policy["egress"]) for policy in ours] == [
            (["Ingress", "Egress"], [])
        ]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_find_pods(overlay: str) -> None:
    """Services, the budget and the policies select pods that there are, by ports that they have."""
    templates = [pod(overlay), *(_job_templates() if overlay in ARGO else [])]
    labels = [template["metadata"]["labels"] for template in templates]
    ports = {
        port["name"]
        for template in templates
        for port in template["spec"]["containers"][0]["ports"]
    }
    for manifest in build(overlay):
        spec = manifest.get("spec", {})
        if manifest["kind"] == "Service":
            assert any(selects(spec["selector"], these) for these in labels)
            assert {port["targetPort"] for port in spec["ports"]} <= ports
        elif manifest["kind"] == "PodDisruptionBudget":
            assert selects(spec["selector"]["matchLabels"], labels[0])
        elif manifest["kind"] == "NetworkPolicy":
            assert any(selects(spec["podSelector"]["matchLabels"], these) for these in labels)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_prometheus_reads_each_pod_once(overlay: str) -> None:
    """One Service matches, and it selects the pods of every version."""
    manifests = build(overlay)
    wanted = find(manifests, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    services = [m for m in manifests if m["kind"] == "Service"]
    matched = [s for s in services if selects(wanted, s["metadata"].get("labels", {}))]

    assert [service["metadata"]["name"] for service in matched] == ["textclf"]
    assert matched[0]["spec"]["selector"] == SERVING


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_autoscaler_scales_what_runs(overlay: str) -> None:
    """Without Argo Rollouts that is the Deployment; nothing else sets replicas."""
    manifests = build(overlay)
    target = find(manifests, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]

    assert target["kind"] == ("Rollout" if overlay in ARGO else "Deployment")
    assert find(manifests, target["kind"])["apiVersion"] == target["apiVersion"]
    assert all("replicas" not in m.get("spec", {}) for m in manifests)


@pytest.mark.parametrize("overlay", ARGO)
def test_a_rollout_names_what_there_is(overlay: str) -> None:
    """Its services, its route and its analyses exist, and each analysis has all its arguments."""
    manifests = build(overlay)
    (strategy,) = find(manifests, "Rollout")["spec"]["strategy"].values()
    services = [name for key, name in strategy.items() if key.endswith("Service")]

    assert len(services) == 2
    assert all(find(manifests, "Service", name) for name in services)
    for plugin in strategy.get("trafficRouting", {}).get("plugins", {}).values():
        assert find(manifests, "HTTPRoute", plugin["httpRoute"])
    analyses = [step["analysis"] for step in strategy.get("steps", []) if "analysis" in step]
    analyses += [value for key, value in strategy.items() if key.endswith("Analysis")]
    assert analyses
    for analysis in analyses:
        (reference,) = analysis["templates"]
        template = find(manifests, "AnalysisTemplate", reference["templateName"])["spec"]
        given = {argument["name"] for argument in analysis.get("args", [])}
        asked = {a["name"] for a in template.get("args", []) if "value" not in a}
        assert given == asked


def test_the_route_shares_out_between_the_versions() -> None:
    """All is the stable version's until Argo Rollouts says otherwise, and can be mirrored."""
    manifests = build("argo/canary")
    (rule,) = find(manifests, "HTTPRoute")["spec"]["rules"]
    shares = {backend["name"]: backend["weight"] for backend in rule["backendRefs"]}
    mirror = rule["filters"][0]["requestMirror"]["backendRef"]

    assert shares == {"textclf-stable": 100, "textclf-candidate": 0}
    assert find(manifests, "Service", mirror["name"])["spec"]["ports"][0]["port"] == mirror["port"]


def test_only_the_gateway_reaches_the_recorder() -> None:
    """Any pod could otherwise post texts that decide a rollout; the README says what to set."""
    manifests = build("argo/canary")
    (rule,) = find(manifests, "NetworkPolicy", "textclf-pairs")["spec"]["ingress"]
    (gateway,) = find(manifests, "HTTPRoute")["spec"]["parentRefs"]

    assert rule["from"] == [
        {
            "namespaceSelector": {
                "matchLabels": {"kubernetes.io/metadata.name": gateway["namespace"]}
            }
        }
    ]
    assert "| `from` | `argo/shared/recorder.yaml` |" in (FOLDER / "README.md").read_text("utf-8")


def test_a_canary_goes_the_way_of_the_default_plan() -> None:
    """Weights, pauses, budgets and the least number of requests are those of scripts/rollout.py."""
    manifests = build("argo/canary")
    steps = find(manifests, "Rollout")["spec"]["strategy"]["canary"]["steps"]
    plan = default_plan("canary", mirrors=True, has_baseline=False)
    compare = find(manifests, "AnalysisTemplate", "textclf-compare")["spec"]
    bounds = {m["name"]: m["successCondition"].rpartition(" ")[2] for m in compare["metrics"]}
    budgets = Budgets()

    assert [step["setWeight"] for step in steps if step.get("setWeight")] == [
        step.weight_percent for step in plan.steps
    ]
    assert {s["pause"]["duration"] for s in steps if "pause" in s} == {
        f"{step.pause_seconds / 60:g}m" for step in plan.steps
    }
    assert {name: float(bound) for name, bound in bounds.items()} == {
        "error-rate-increase": budgets.error_rate_increase,
        "p99-latency-ratio": budgets.latency_ratio,
        "class-mix-shift": budgets.class_mix_shift,
    }
    minimum = {a["name"]: a.get("value") for a in compare["args"]}["minimum-requests"]
    assert int(minimum) == Step(weight_percent=1).minimum_requests


@pytest.mark.parametrize("overlay", ARGO)
def test_thin_data_never_passes(overlay: str) -> None:
    """One bound parts success from failure, and only successes in a row end it well."""
    for template in (m for m in build(overlay) if m["kind"] == "AnalysisTemplate"):
        for metric in (m for m in template["spec"]["metrics"] if "prometheus" in m["provider"]):
            success, failure = metric["successCondition"], metric["failureCondition"]

            assert success.startswith("len(result) > 0 && ")
            assert failure == success.replace("<=", ">")
            assert metric["consecutiveSuccessLimit"] >= 3
            assert "count" not in metric  # would end well after so many, inconclusive ones too


def test_the_job_outlasts_its_own_limits() -> None:
    """It is cut short only if it hangs, and a failure of it is not tried away."""
    plan = default_plan("shadow", mirrors=True, has_baseline=False)
    (job,) = jobs(find(build("argo/canary"), "AnalysisTemplate", "textclf-pairs"))

    assert plan.shadow
    assert job["spec"]["activeDeadlineSeconds"] > 2 * plan.shadow.limit_seconds
    assert job["spec"]["backoffLimit"] == 0
    bluegreen = find(build("argo/bluegreen"), "Rollout")["spec"]
    assert bluegreen["progressDeadlineSeconds"] > job["spec"]["activeDeadlineSeconds"]


def test_every_file_is_used_and_every_object_described() -> None:
    """No manifest lies beside the kustomizations, and the README has a row for each object."""
    readme = (FOLDER / "README.md").read_text("utf-8")
    for path in FOLDER.rglob("*.yaml"):
        if path.name != "kustomization.yaml":
            assert path.name in (path.parent / "kustomization.yaml").read_text("utf-8"), path
    rows = set(re.findall(r"^\| ([A-Z]\w+) `([\w-]+)` \|", readme, re.MULTILINE))
    objects = {(m["kind"], m["metadata"]["name"]) for overlay in OVERLAYS for m in build(overlay)}

    assert rows == objects
