"""The arithmetic of docs/capacity.md follows from the figures that it starts from."""

from __future__ import annotations

import math
import re

from tests.http.serving import PROJECT
from tests.repo.manifests import build, find

TEXT = (PROJECT / "docs" / "capacity.md").read_text("utf-8")
MOST = int(re.findall(r"^\| M, .*\| (\d+) texts/s", TEXT, re.MULTILINE)[0])
HALF = MOST // 2


def test_replicas_and_nodes_follow_from_the_measurement() -> None:
    """Each row is what the formula gives, for three zones and three replicas a node."""
    rows = re.findall(r"^\| ([\d,]+) \| (\d+) \| (\d+) \|$", TEXT, re.MULTILINE)
    expected = []
    for peak, _, _ in rows:
        replicas = max(2, math.ceil(int(peak.replace(",", "")) / (0.5 * MOST) * 3 / 2))
        expected.append((peak, str(replicas), str(math.ceil(replicas / 3))))

    assert len(rows) == 4
    assert rows == expected
    assert f"= {HALF} texts/s for each replica" in TEXT
    assert f"= {10 * HALF:,} texts/s; with more traffic, mirror less" in TEXT


def test_figures_of_the_manifests_are_theirs() -> None:
    """What the page says of the manifests is in them."""
    manifests = build("argo/canary")
    scaler = find(manifests, "HorizontalPodAutoscaler")["spec"]
    (container,) = find(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    (rule,) = find(manifests, "HTTPRoute")["spec"]["rules"]

    assert scaler["metrics"][0]["resource"]["target"]["averageUtilization"] == 60
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 10)
    assert container["resources"]["limits"]["cpu"] == "2"
    assert rule["filters"][0]["requestMirror"]["percent"] == 10
