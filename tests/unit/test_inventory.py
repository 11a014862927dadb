"""What is read inside an image, and what of it needs what."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.markers import default_environment

from textclf.errors import ImageError
from textclf.image import inside
from textclf.image.inventory import (
    Distribution,
    Inventory,
    entry_points,
    parse_inventory,
    resolve_requirements,
)

ENVIRONMENT = inside.marker_environment()
NO_DPKG = Inventory(
    os_release={}, os_packages=(), python_distributions=(), marker_environment=ENVIRONMENT
)
STATUS = """\
Package: kept
Status: install ok installed
Maintainer: Someone <someone@debian.example>
Architecture: all
Source: kept-source (1.0)
Version: 1.0+b2
Description: a package
 whose description goes on
 .
 Version: 9 is not its version
Homepage: https://kept.example

Package: removed
Status: deinstall ok config-files
Architecture: all
Version: 3

Package: held
Status: hold ok installed
Architecture: amd64
Version: 2-1
"""
COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
License: GPL-2+

Files: doc/*
License:   BSD-3-clause or GPL-2
 The text of the licence goes here.
 License: not-a-field

License: Redistribution and use in source and binary forms are permitted

License: GPL-2+
"""


def test_what_is_read_inside(tmp_path: Path) -> None:
    """Installed packages, their sources and licences are read; removed ones and prose are not."""
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_text(STATUS)
    for package, text in {"kept": COPYRIGHT, "held": "License: the GPL\n"}.items():
        (tmp_path / "usr/share/doc" / package).mkdir(parents=True)
        (tmp_path / "usr/share/doc" / package / "copyright").write_text(text)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\n')
    kept, held = inside.describe(tmp_path, [])["os_packages"]

    assert kept == {
        "name": "kept",
        "version": "1.0+b2",
        "architecture": "all",
        "source": "kept-source",
        "source_version": "1.0",
        "maintainer": "Someone <someone@debian.example>",
        "home_page": "https://kept.example",
        "licences": ["BSD-3-clause or GPL-2", "GPL-2+"],
    }
    assert (held["name"], held["source"], held["licences"]) == ("held", "held", [])
    assert inside.os_release(tmp_path) == {"ID": "debian", "VERSION_ID": "12"}


def test_distroless_images_have_a_file_a_package(tmp_path: Path) -> None:
    """Packages of var/lib/dpkg/status.d count; the checksums beside them do not."""
    folder = tmp_path / "var/lib/dpkg/status.d"
    folder.mkdir(parents=True)
    (folder / "base").write_text("Package: base-files\nVersion: 12\nArchitecture: all\n")
    (folder / "base.md5sums").write_text("Package: no\nVersion: 1\nArchitecture: all\n")

    assert [package["name"] for package in inside.os_packages(tmp_path)] == ["base-files"]


def test_the_script_runs_alone() -> None:
    """Sent to a Python on stdin, as an image gets it, it lists that Python's distributions."""
    script = Path(inside.__file__).read_bytes()
    command = [sys.executable, "-I", "-B", "-"]
    printed = subprocess.run(command, input=script, check=True, capture_output=True).stdout
    listed = Inventory.model_validate_json(printed)
    here = {(each.name, each.version) for each in importlib.metadata.distributions()}
    kernel = {"platform_release", "platform_version"}  # they are the host's, not the image's

    assert here <= {(each.name, each.version) for each in listed.python_distributions}
    assert listed.marker_environment == default_environment() | dict.fromkeys(kernel, "")


@pytest.mark.parametrize(
    ("printed", "message"),
    [
        ("", "did not print a list of what is installed: output: Invalid JSON"),
        ('{"os_packages": []}', "os_release: Field required"),
        ("[1]", "did not print a list"),
        (
            json.dumps(
                {
                    "os_release": {},
                    "os_packages": [],
                    "python_distributions": [{"name": None, "version": "1"}],
                    "marker_environment": {},
                }
            ),
            "python_distributions.0.name: Input should be a valid string",
        ),
        (NO_DPKG.model_dump_json(), "has no dpkg database"),
    ],
    ids=["nothing", "not all", "no object", "a nameless distribution", "no dpkg"],
)
def test_unreadable_lists_are_refused(printed: str, message: str) -> None:
    """Whatever is no full list is refused in a sentence that names the image and the fault."""
    with pytest.raises(ImageError) as refused:
        parse_inventory(printed, "textclf:0.3.1")

    assert message in str(refused.value)
    assert "textclf:0.3.1" in str(refused.value)


def test_requirements_are_resolved() -> None:
    """Markers, extras and spellings of names count; what is not installed does not."""
    requires = {
        "App": [
            "Web_Server[fast]>=1",
            "absent",
            'gone; sys_platform == "no"',
            'leaf; extra == "x"',
        ],
        "web-server": ['LOOP; extra == "fast"', 'leaf; extra == "slow"', "web-server[slow]"],
        "loop": [],
        "leaf": [],
        "gone": [],
    }
    distributions = [
        Distribution(name=name, version="1", requires=tuple(lines))
        for name, lines in requires.items()
    ]
    needs = resolve_requirements(distributions, ENVIRONMENT)

    assert needs == {
        "app": {"web-server"},
        "web-server": {"loop", "leaf"},
        "loop": set(),
        "leaf": set(),
        "gone": set(),
    }
    assert entry_points(needs) == ["app", "gone"]


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        ({}, []),
        ({"a": {"b"}, "b": {"a"}}, ["a"]),
        ({"a": {"b"}, "b": {"a"}, "z": {"b"}}, ["z"]),
    ],
    ids=["nothing", "a ring", "a ring with a way in"],
)
def test_entry_points_reach_rings(needs: dict[str, set[str]], expected: list[str]) -> None:
    """Distributions that need each other are reached too."""
    assert entry_points(needs) == expected


def test_unreadable_requirements_are_refused() -> None:
    """The message names the distribution and its version."""
    broken = Distribution(name="broken", version="1.2", requires=("not a requirement!",))

    with pytest.raises(ImageError, match=r"broken 1\.2 has a requirement that cannot be read"):
        resolve_requirements([broken], ENVIRONMENT)
