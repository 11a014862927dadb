"""The configuration of an nginx that shares requests out among versions."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import jinja2
from pydantic import BaseModel, ConfigDict, Field

from textclf.errors import TrafficError
from textclf.rollout.traffic.traffic import Weights

_TEMPLATE = Path(__file__).with_name("nginx.conf.j2")
_NO_GENERATION = "0" * 16
_URL = re.compile(r"http://(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>\d{1,5}))?/?")


class Site(BaseModel):
    """What of a configuration no rollout changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    listen: str = Field(default="127.0.0.1:8080", description="address and port that clients use")
    status_port: int = Field(
        default=8081, description="of loopback, where nginx says how it shares requests out"
    )
    timeout_seconds: int = Field(
        default=35, description="longest silence of a version, until another one is asked"
    )
    keepalive_seconds: int = Field(
        default=0,
        description="that idle clients stay connected; one that meets a reload has to send its "
        "request again, so that 0 closes after each answer",
    )
    body_bytes: int = Field(
        default=2_097_152,
        description="largest body; above the service's own limit, whose answer is the better one",
    )
    workers: str = Field(default="auto", description="processes; auto for one per CPU")


@dataclass(frozen=True, kw_only=True)
class Upstreams:
    """Where requests go in one rollout.

    Attributes:
        stable: URL of the stable version.
        candidate: URL of the candidate.
        baseline: URL of a fresh copy of the stable version, if there is one.
        recorder: URL that requests are mirrored to, if there is one.
    """

    stable: str
    candidate: str | None = None
    baseline: str | None = None
    recorder: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Version:
    name: str
    address: str
    percent: int
    preference: int


def render_config(site: Site, upstreams: Upstreams, weights: Weights) -> tuple[str, str]:
    """Return the configuration, and its generation: a name that no other configuration has.

    A version that does not answer is stood in for by the stable one, and by any other that has a
    share of the requests. One that has none is not asked even then: before a rollout nothing is
    known of it, and after one that went back it may be worse than silent. Clients can try a 503
    again, and cannot tell a wrong answer from a right one. So the configuration with all traffic on
    the stable version is always the same, whatever came before it; whether to go back to a stable
    version that is down is for whoever decides on moves.

    Raises:
        TrafficError: A version or the recorder is asked for without a URL, or with one that
            nginx cannot use.
    """
    status = {
        "generation": _NO_GENERATION,
        "shares": _share_out(upstreams, weights),
        "mirror_percent": weights.mirror_percent,
    }
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - it is no HTML; addresses are checked
        keep_trailing_newline=True,
    )
    text = environment.from_string(_TEMPLATE.read_text("utf-8")).render(
        generation=_NO_GENERATION,
        workers=site.workers,
        body_bytes=site.body_bytes,
        keepalive_seconds=site.keepalive_seconds,
        versions=_list_versions(upstreams, weights),
        mirror_percent=weights.mirror_percent,
        recorder=address(upstreams.recorder, "recorder") if weights.mirror_percent else "",
        listen=site.listen,
        status_port=site.status_port,
        timeout_seconds=site.timeout_seconds,
        status=json.dumps(status),
    )
    generation = hashlib.sha256(text.encode()).hexdigest()[: len(_NO_GENERATION)]
    return text.replace(_NO_GENERATION, generation), generation


def address(url: str | None, name: str) -> str:
    """Return host and port of a URL.

    Raises:
        TrafficError: There is no URL, or it has more to it than nginx is told.
    """
    if url is None:
        raise TrafficError(f"traffic cannot move to the {name}, which has no URL; name one")
    found = _URL.fullmatch(url)
    if not found:
        raise TrafficError(
            f"nginx cannot send requests to {url!a}; name the {name} http://HOST:PORT"
        )
    return f"{found['host']}:{found['port'] or 80}"


def _list_versions(upstreams: Upstreams, weights: Weights) -> list[_Version]:
    named = (
        ("candidate", upstreams.candidate, weights.candidate_percent, 1),
        ("baseline", upstreams.baseline, weights.baseline_percent, 100),
        ("stable", upstreams.stable, 0, 100),  # it gets what is left
    )
    return [
        _Version(name=name, address=address(url, name), percent=percent, preference=preference)
        for name, url, percent, preference in named
        if percent or name == "stable"
    ]


def _share_out(upstreams: Upstreams, weights: Weights) -> dict[str, int]:
    shares: dict[str, int] = {}
    for name, url, percent in (
        ("stable", upstreams.stable, weights.stable_percent),
        ("candidate", upstreams.candidate, weights.candidate_percent),
        ("baseline", upstreams.baseline, weights.baseline_percent),
    ):
        if percent:
            shares[address(url, name)] = shares.get(address(url, name), 0) + percent
    return shares
