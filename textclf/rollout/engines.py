"""Which engine a command line names; one that is not used is not imported."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Protocol, cast

from textclf.rollout.traffic.traffic import Traffic


class Engine(Protocol):
    """A module of an engine."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add what only this engine needs to know."""
        ...

    def build(self, arguments: argparse.Namespace) -> Traffic:
        """Return the engine that the command line describes."""
        ...


_ENGINES: Mapping[str, Callable[[], object]] = {
    "nginx": lambda: import_module("textclf.rollout.traffic.nginx"),
    "azureml": lambda: import_module("textclf.rollout.traffic.azureml"),
    "azureml-v2": lambda: import_module("textclf.rollout.traffic.azureml_v2"),
    "argo": lambda: import_module("textclf.rollout.traffic.argo"),
}
ENGINES = tuple(_ENGINES)


def load_engine(name: str) -> Engine:
    """Return the engine of this name."""
    return cast("Engine", _ENGINES[name]())
