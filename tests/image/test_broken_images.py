"""Each flaw is noticed by the check that is meant for it, and the good image has none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.image.broken.images import BROKEN
from tests.image.conftest import Checked, check_image


def test_the_good_image_passes(good_image: str, tmp_path: Path) -> None:
    """Every check is made and passes, within a minute."""
    checked = check_image(good_image, tmp_path)

    assert checked.found("failed") | checked.found("error") | checked.found("skipped") == {}
    assert checked.exit_code == 0, checked.errors
    assert checked.report["complete"]
    assert checked.report["passed"]
    assert checked.report["seconds"] < 60


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_image_is_refused(name: str, check_broken: Callable[[str], Checked]) -> None:
    """The check that is meant for the flaw says what is wrong, and no unrelated one fails."""
    broken, checked = BROKEN[name], check_broken(name)
    failed = checked.found("failed")

    assert checked.found("error") == {}
    assert broken.found in failed.get(broken.check, "it passed")
    assert set(failed) == {broken.check, *broken.also}, failed
    assert checked.exit_code == broken.exit_code, checked.errors
    assert not checked.report["passed"]
