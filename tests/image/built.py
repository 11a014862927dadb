"""The image that was built last, and what it stands on."""

from __future__ import annotations

import yaml

from tests.http.serving import PROJECT
from textclf.errors import BuildError
from textclf.image.record import read_record

DIST = PROJECT / "dist"


def base_image() -> str:
    """Return the base of the image that was built last, or the usual one if there is no image."""
    try:
        return str(read_record(DIST)["base"])
    except BuildError:
        configured = yaml.safe_load((PROJECT / "bentofile.yaml").read_text("utf-8"))
        return str(configured["docker"]["base_image"])
