"""Updates of an AksEndpoint, one version after the other, on the way to the weights wanted."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from textclf.rollout.traffic.azureml import plan_updates

_NAMES = ("stable", "candidate", "baseline")


@st.composite
def _percentiles(draw: st.DrawFn, *, whole: bool) -> dict[str, int]:
    """Return percentiles of three versions: 100 % together, or, if not ``whole``, at most that."""
    candidate = draw(st.integers(0, 100))
    baseline = draw(st.integers(0, 100 - candidate))
    rest = 100 - candidate - baseline
    stable = rest if whole else draw(st.integers(0, rest))
    return {"stable": stable, "candidate": candidate, "baseline": baseline}


def _shares(versions: dict[str, dict[str, Any]]) -> dict[str, int]:
    given = {name: version["traffic_percentile"] for name, version in versions.items()}
    holder = [name for name, version in versions.items() if version["is_default"]]
    assert len(holder) == 1
    assert sum(given.values()) <= 100, "Azure would refuse it"
    given[holder[0]] += 100 - sum(given.values())
    return given


@given(
    now=_percentiles(whole=True),
    wanted=_percentiles(whole=True),
    holder=st.sampled_from(_NAMES),
    default=st.sampled_from(_NAMES[:2]),
)
def test_every_update_is_on_the_way(
    now: dict[str, int], wanted: dict[str, int], holder: str, default: str
) -> None:
    """No update gives out over 100 %, or a version a share outside of its old and its new one."""
    versions = {
        name: {"traffic_percentile": now[name], "is_default": name == holder} for name in _NAMES
    }
    before = _shares(versions)

    updates = plan_updates(versions, wanted, stable="stable", default=default)

    for update in updates:
        if update["traffic_percentile"] is not None:
            versions[update["version"]]["traffic_percentile"] = update["traffic_percentile"]
        if update["is_default"]:
            for name, version in versions.items():
                version["is_default"] = name == update["version"]
        for name in _NAMES[1:]:
            low, high = sorted((before[name], wanted[name]))
            assert low <= _shares(versions)[name] <= high
    assert _shares(versions) == wanted
    assert versions[default]["is_default"]
    assert plan_updates(versions, wanted, stable="stable", default=default) == []


@given(now=_percentiles(whole=False), wanted=_percentiles(whole=True))
def test_goes_on_after_a_kill(now: dict[str, int], wanted: dict[str, int]) -> None:
    """From percentiles that leave a remainder to the stable version, any weights are reached."""
    versions = {
        name: {"traffic_percentile": now[name], "is_default": name == "stable"} for name in _NAMES
    }
    for update in plan_updates(versions, wanted, stable="stable", default="stable"):
        versions[update["version"]]["traffic_percentile"] = update["traffic_percentile"]
        _shares(versions)

    assert _shares(versions) == wanted
