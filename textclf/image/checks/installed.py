"""What is installed in an image's virtual environment, by the records of the wheels themselves."""

from __future__ import annotations

import base64
import csv
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from textclf.image.checks.layers import Entry

_RECORD = re.compile(r"(?P<site>.+/python(?P<python>3\.\d+)/site-packages)/[^/]+\.dist-info/RECORD")
_DIST_INFO = re.compile(r"(?P<name>[^/]+?)-(?P<version>[^/-]+)\.dist-info$")
_CACHED = re.compile(r"(?P<folder>.*)/__pycache__/(?P<module>[^/]+)\.cpython-\d+(\.opt-\d)?\.pyc")
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """One installed distribution.

    Attributes:
        name: In the form that PEP 503 gives it.
        version: As its folder names it.
        python: Version of Python that it is installed for: major and minor.
        recorded: sha256 in hexadecimal of each file that its RECORD names; empty where it has none.
    """

    name: str
    version: str
    python: str
    recorded: Mapping[str, str]


def find_distributions(files: Mapping[str, Entry]) -> list[Distribution]:
    """Return every distribution that is installed among ``files``.

    Source: https://packaging.python.org/en/latest/specifications/recording-installed-packages/
    """
    found = []
    for path, entry in sorted(files.items()):
        match = _RECORD.fullmatch(path)
        named = _DIST_INFO.search(posixpath.dirname(path))
        if match and named:
            rows = csv.reader(entry.content.decode("utf-8").splitlines())
            recorded = {
                posixpath.normpath(posixpath.join(match["site"], row[0])): _hexadecimal(row[1])
                for row in rows
                if row
            }
            found.append(
                Distribution(
                    name=canonicalize_name(named["name"]),
                    version=named["version"],
                    python=match["python"],
                    recorded=recorded,
                )
            )
    return found


def recorded_files(distributions: list[Distribution]) -> dict[str, str]:
    """Return the sha256 of every file that a distribution records, by path."""
    return {path: sha for found in distributions for path, sha in found.recorded.items()}


def read_pins(lock: str, *, python: str, architecture: str) -> dict[str, str]:
    """Return the version of each distribution that a lock pins for one Linux machine.

    Args:
        lock: Lines of ``name==version ; marker``, each with its hashes.
        python: Version of Python: major and minor.
        architecture: As docker names it, such as amd64.
    """
    environment = {
        "os_name": "posix",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": _MACHINES.get(architecture, architecture),
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "python_version": python,
        "python_full_version": f"{python}.0",
    }
    pins: dict[str, str] = {}
    for line in _requirement_lines(lock):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            version = str(requirement.specifier).removeprefix("==")
            pins[canonicalize_name(requirement.name)] = version
    return pins


def source_of(path: str) -> str:
    """Return the path of the module that compiled code was made from; other paths as they are."""
    match = _CACHED.fullmatch(path)
    return f"{match['folder']}/{match['module']}.py" if match else path


def _requirement_lines(lock: str) -> Iterator[str]:
    for line in lock.replace("\\\n", " ").splitlines():
        requirement = line.partition("#")[0].partition("--hash")[0].strip()
        if requirement and not requirement.startswith("-"):
            yield requirement


def _hexadecimal(given: str) -> str:
    algorithm, _, encoded = given.partition("=")
    if algorithm != "sha256":
        return ""
    return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).hex()
