"""Where a rollout reads what versions count: a Protocol, and one module each."""

from textclf.rollout.metrics.choosing import add_arguments, build
from textclf.rollout.metrics.metrics import Metrics, Version

__all__ = ["Metrics", "Version", "add_arguments", "build"]
