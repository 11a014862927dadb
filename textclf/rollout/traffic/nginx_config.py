"""The configuration of an nginx that shares requests out among versions."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import jinja2

from textclf.errors import TrafficError
from textclf.rollout.traffic.traffic import Weights

_TEMPLATE = Path(__file__).with_name("nginx.conf.j2")
_BODY_BYTES = 2_097_152  # above the service's own limit, whose answer is the better one
_NO_GENERATION = "0" * 16
_URL = re.compile(r"http://(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>\d{1,5}))?/?")


@dataclass(frozen=True, kw_only=True)
class Site:
    """What of a configuration stays when weights change.

    Attributes:
        listen: Address and port that clients use.
        status_port: Of loopback, where nginx says how it shares requests out.
        stable: URL of the stable version.
        candidate: URL of the candidate.
        baseline: URL of a fresh copy of the stable version, if there is one.
        recorder: URL that requests are mirrored to, if there is one.
        timeout_seconds: Longest silence of a version, until another one is asked.
        keepalive_seconds: That a client may keep an idle connection; 0: for one request.
        workers: Processes; ``auto`` for one per CPU.
    """

    listen: str
    status_port: int
    stable: str
    candidate: str | None = None
    baseline: str | None = None
    recorder: str | None = None
    timeout_seconds: int = 35
    keepalive_seconds: int = 0
    workers: str = "auto"


@dataclass(frozen=True, kw_only=True)
class _Version:
    name: str
    address: str
    percent: int
    preference: int


def render_config(site: Site, weights: Weights) -> tuple[str, str]:
    """Return the configuration, and its generation: a name that no other configuration has.

    A version that does not answer is stood in for by the stable one, and by any other that has a
    share of the requests. One that has none is not asked even then: nothing is known of it.

    Raises:
        TrafficError: A version or the recorder is asked for without a URL, or with one that
            nginx cannot use.
    """
    status = {
        "generation": _NO_GENERATION,
        "shares": _share_out(site, weights),
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
        body_bytes=_BODY_BYTES,
        keepalive_seconds=site.keepalive_seconds,
        versions=_list_versions(site, weights),
        mirror_percent=weights.mirror_percent,
        recorder=address(site.recorder, "recorder") if weights.mirror_percent else "",
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


def _list_versions(site: Site, weights: Weights) -> list[_Version]:
    named = (
        ("candidate", site.candidate, weights.candidate_percent, 1),
        ("baseline", site.baseline, weights.baseline_percent, 100),
        ("stable", site.stable, 0, 100),  # it gets what is left
    )
    return [
        _Version(name=name, address=address(url, name), percent=percent, preference=preference)
        for name, url, percent, preference in named
        if percent or name == "stable"
    ]


def _share_out(site: Site, weights: Weights) -> dict[str, int]:
    shares: dict[str, int] = {}
    for name, url, percent in (
        ("stable", site.stable, weights.stable_percent),
        ("candidate", site.candidate, weights.candidate_percent),
        ("baseline", site.baseline, weights.baseline_percent),
    ):
        if percent:
            shares[address(url, name)] = shares.get(address(url, name), 0) + percent
    return shares
