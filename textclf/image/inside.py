"""What is installed in an image, told from inside it.

This file is sent to the image's own Python on stdin, so it imports the standard library alone and
writes one JSON object to stdout.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from email import message_from_string
from email.message import Message
from importlib import metadata
from pathlib import Path
from typing import Any

_DPKG = "var/lib/dpkg"
# Longer than any name: the copyright file has the text of a licence where its name should be.
_LONGEST_LICENCE_NAME = 40


def describe(root: Path, site_packages: Sequence[str]) -> dict[str, Any]:
    """Return what is installed below ``root`` and in these folders of Python distributions."""
    return {
        "os_release": os_release(root),
        "os_packages": list(os_packages(root)),
        "python_distributions": list(python_distributions(site_packages)),
        "marker_environment": marker_environment(),
    }


def own_site_packages() -> list[str]:
    """Return where this interpreter, and the one its virtual environment is of, have packages."""
    base = {"base": sys.base_prefix, "platbase": sys.base_prefix}
    paths = [
        sysconfig.get_path("purelib"),
        sysconfig.get_path("platlib"),
        sysconfig.get_path("purelib", "posix_prefix", base),
        sysconfig.get_path("platlib", "posix_prefix", base),
    ]
    return list(dict.fromkeys(paths))


def python_distributions(site_packages: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the metadata of each installed distribution, those of the first folder first.

    Source: https://packaging.python.org/en/latest/specifications/core-metadata/
    """
    for distribution in metadata.distributions(path=list(site_packages)):
        fields = distribution.metadata
        yield {
            name.lower().replace("-", "_"): (fields.get_all(name) or [None])[0]
            for name in (
                "Name", "Version", "Summary", "License-Expression", "License",
                "Author", "Author-email", "Maintainer", "Maintainer-email", "Home-page",
            )
        } | {
            "classifiers": fields.get_all("Classifier") or [],
            "project_urls": fields.get_all("Project-URL") or [],
            "requires": fields.get_all("Requires-Dist") or [],
        }  # fmt: skip


def marker_environment() -> dict[str, str]:
    """Return what the markers of requirements are judged by, but for the kernel's own version.

    Source: https://packaging.python.org/en/latest/specifications/dependency-specifiers/
    """
    version = platform.python_version()
    return {
        "implementation_name": sys.implementation.name,
        "implementation_version": version,
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": "",
        "platform_system": platform.system(),
        "platform_version": "",
        "python_full_version": version,
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "sys_platform": sys.platform,
    }


def os_release(root: Path) -> dict[str, str]:
    """Return ``/etc/os-release``, or nothing where there is none."""
    pairs = re.findall(r"^([A-Z_]+)=(.*)$", _read(root / "etc/os-release"), re.MULTILINE)
    return {name: value.strip("\"'") for name, value in pairs}


def os_packages(root: Path) -> Iterator[dict[str, Any]]:
    """Yield each package that dpkg has installed; distroless images keep one file a package."""
    for stanza in _dpkg_stanzas(root):
        state = stanza.get("Status", "installed").split()[-1]
        if stanza["Package"] and state == "installed":
            source = re.fullmatch(r"(\S+)(?: \((\S+)\))?", stanza.get("Source", ""))
            yield {
                "name": stanza["Package"],
                "version": stanza["Version"],
                "architecture": stanza["Architecture"],
                "source": source[1] if source else stanza["Package"],
                "source_version": (source and source[2]) or stanza["Version"],
                "maintainer": stanza["Maintainer"],
                "home_page": stanza["Homepage"],
                "licences": copyright_licences(root, stanza["Package"]),
            }


def _dpkg_stanzas(root: Path) -> Iterator[Message]:
    files = [root / _DPKG / "status"]
    folder = root / _DPKG / "status.d"
    if folder.is_dir():
        files += sorted(path for path in folder.iterdir() if path.suffix != ".md5sums")
    for path in files:
        for stanza in re.split(r"\n{2,}", _read(path)):
            yield message_from_string(stanza.strip("\n"))


def copyright_licences(root: Path, package: str) -> list[str]:
    """Return the licences that a package's copyright file names, if a machine can read it.

    Source: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
    """
    text = _read(root / "usr/share/doc" / package / "copyright")
    if not re.match(r"Format\S*: *\S*copyright-format", text):
        return []
    names = re.findall(r"^License:[ \t]*(\S.*?)[ \t]*$", text, re.MULTILINE)
    return sorted({name for name in names if len(name) <= _LONGEST_LICENCE_NAME})


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""


if __name__ == "__main__":
    json.dump(describe(Path("/"), own_site_packages()), sys.stdout)
