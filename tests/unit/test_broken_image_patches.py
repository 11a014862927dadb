"""What breaks an image on purpose still finds what it breaks."""

from __future__ import annotations

import json

import pytest

from tests.http.serving import PROJECT
from tests.image.broken.images import BROKEN, SOURCE


def patches(dockerfile: str) -> list[tuple[str, str]]:
    """Return the module of the project and the code that each instruction replaces."""
    commands = [
        json.loads(line.removeprefix("RUN "))
        for line in dockerfile.splitlines()
        if line.startswith("RUN [")
    ]
    return [
        (command[3].removeprefix(f"{SOURCE}/"), command[4])
        for command in commands
        if len(command) > 5 and command[3].startswith(SOURCE)
    ]


@pytest.mark.parametrize("name", BROKEN)
def test_patched_code_is_there(name: str) -> None:
    """A change of the code that an image is built from is noticed before one is built."""
    for module, code in patches(BROKEN[name].dockerfile):
        assert code in (PROJECT / "textclf" / module).read_text("utf-8"), module


def test_some_are_patched() -> None:
    """Else the test above would pass whatever it reads."""
    assert sum(bool(patches(broken.dockerfile)) for broken in BROKEN.values()) >= 8
