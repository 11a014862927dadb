"""What became of a build: sizes, times and names, for people and for whoever comes next."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from textclf.errors import BuildError
from textclf.image.building import Base, BuildPlan, BuildTimes
from textclf.image.docker import inspect_image, read_history
from textclf.tables import text_table

RECORD = "image.json"
_COPIED = ("packages", "model", "code")  # as deploy/Dockerfile.j2 copies them, lowest first


@dataclass(frozen=True, kw_only=True)
class BuildRecord:
    """An image that was built.

    Attributes:
        reference: Name and tag of the image.
        id: Digest of its configuration, which names every layer.
        version: Of the code and the model.
        revision: Commit of the code.
        model: Store tag of the model.
        base: Reference of the image below it.
        created: Time that it claims, RFC 3339.
        size_bytes: Unpacked bytes of each part: base, packages, model and code.
        added_bytes: Unpacked bytes over the base.
        layers: Digests of the unpacked layers, lowest first.
        seconds: What each command took.
        commands: What ran, for a shell in the clone.
    """

    reference: str
    id: str
    version: str
    revision: str
    model: str
    base: str
    created: str
    size_bytes: dict[str, int]
    added_bytes: int
    layers: list[str]
    seconds: dict[str, float]
    commands: str

    def as_json(self) -> str:
        """Render the record for a file."""
        return json.dumps(asdict(self), indent=2) + "\n"

    def as_table(self) -> str:
        """Render what a person wants to know."""
        sizes = [(part, f"{size / 1e6:.1f} MB") for part, size in self.size_bytes.items()]
        return text_table(
            [
                ("image", self.reference),
                ("id", self.id),
                ("model", self.model),
                *sizes,
                ("over the base", f"{self.added_bytes / 1e6:.1f} MB"),
                *((command, f"{seconds:.1f} s") for command, seconds in self.seconds.items()),
            ]
        )


def make_record(plan: BuildPlan, base: Base, times: BuildTimes) -> BuildRecord:
    """Look at the image that a plan has made.

    Raises:
        BuildError: It is not there, or not built in the layers that it should be.
        DockerError: Docker does not answer.
    """
    described = inspect_image(plan.image)
    labels = described["Config"]["Labels"]
    sizes = read_history(plan.image)
    parts = {"base": base.size_bytes, **_copied_bytes(plan.image, sizes)}
    return BuildRecord(
        reference=plan.image,
        id=described["Id"],
        version=plan.version,
        revision=labels["org.opencontainers.image.revision"],
        model=labels["textclf.model.tag"],
        base=base.reference,
        created=labels["org.opencontainers.image.created"],
        size_bytes=parts,
        added_bytes=sum(size for _, size in sizes) - base.size_bytes,
        layers=described["RootFS"]["Layers"],
        seconds={
            "bentoml build": round(times.build_seconds, 1),
            "bentoml containerize": round(times.containerize_seconds, 1),
        },
        commands=plan.as_shell(),
    )


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of the image that was last built into ``folder``.

    Raises:
        BuildError: There is none that can be read.
    """
    try:
        return dict(json.loads((folder / RECORD).read_text("utf-8")))
    except (OSError, ValueError) as exc:
        raise BuildError(f"{folder / RECORD} cannot be read: {exc}; run make image") from exc


def _copied_bytes(image: str, layers: Iterable[tuple[str, int]]) -> dict[str, int]:
    sizes = [size for instruction, size in layers if instruction.startswith("COPY /rootfs")]
    if len(sizes) < len(_COPIED):
        raise BuildError(f"{image} has {len(sizes)} layers of ours, not one each for {_COPIED}")
    return dict(zip(_COPIED, sizes[-len(_COPIED) :], strict=True))
