"""Which metrics a command line names."""

from __future__ import annotations

import argparse
from urllib.parse import urlsplit

from textclf.rollout.metrics.metrics import Metrics
from textclf.rollout.metrics.prometheus import PrometheusMetrics
from textclf.rollout.metrics.scrape import ScrapedMetrics

_VERSIONS = ("stable", "candidate", "baseline")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says where metrics are read."""
    parser.add_argument(
        "--prometheus",
        metavar="URL",
        help="that scrapes every version (default: the services' own /metrics are read)",
    )
    parser.add_argument(
        "--prometheus-label",
        default="instance",
        metavar="LABEL",
        help="that tells the versions apart (default: %(default)s)",
    )
    for version in _VERSIONS:
        parser.add_argument(
            f"--prometheus-{version}",
            metavar="VALUE",
            help=f"of that label for the {version} version (default: host and port of its URL)",
        )
    parser.add_argument(
        "--prometheus-oldest-seconds",
        type=float,
        default=60.0,
        metavar="N",
        help="age beyond which a scrape says nothing any more (default: %(default)g)",
    )


def build(arguments: argparse.Namespace) -> Metrics:
    """Return the metrics that the command line describes, ``--stable`` and the others included."""
    urls = {v: url for v in _VERSIONS if (url := getattr(arguments, v, None))}
    if not arguments.prometheus:
        return ScrapedMetrics(urls)
    return PrometheusMetrics(
        arguments.prometheus,
        label=arguments.prometheus_label,
        values={
            version: getattr(arguments, f"prometheus_{version}") or urlsplit(url).netloc
            for version, url in urls.items()
        },
        oldest_seconds=arguments.prometheus_oldest_seconds,
    )
