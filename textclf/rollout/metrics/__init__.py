"""Where a rollout reads what versions count: a Protocol, and one module each."""

from textclf.rollout.metrics.choosing import add_arguments, build
from textclf.rollout.metrics.metrics import Metrics, Version
from textclf.rollout.metrics.passed_over import MetricsPassedOver, PassesOver

__all__ = [
    "Metrics",
    "MetricsPassedOver",
    "PassesOver",
    "Version",
    "add_arguments",
    "build",
]
