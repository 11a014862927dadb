"""Where tests publish from: tiny images with their reports, and a repository of their own."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.image.registry import Registry
from textclf.image.docker import inspect_image, run_docker

REVISION = "0123456789abcdef0123456789abcdef01234567"
SHA_TAG = "sha-0123456789ab"
VERSION = "0.3.1"


@dataclass
class Workplace:
    """A folder to publish from, and a repository that nobody has used to publish to.

    Attributes:
        folder: The current one.
        registry: Shared by the tests of this file.
        name: Of the repository in the registry.
        login: Folder of docker's settings, which hold a login to the registry.
        images: What was built; it goes with the test.
    """

    folder: Path
    registry: Registry
    name: str
    login: Path
    images: list[str] = field(default_factory=list)

    @property
    def repository(self) -> str:
        """The full name of the repository."""
        return f"{self.registry.host}/{self.name}"

    def tags(self) -> dict[str, str]:
        """Return the digest of each tag of the repository, as the registry tells."""
        return self.registry.tags(self.name)

    def platforms(self, tag: str) -> dict[str, str]:
        """Return the digest that an index has for each architecture."""
        index = json.loads(self.registry.get(f"/v2/{self.name}/manifests/{tag}")[2])
        return {m["platform"]["architecture"]: m["digest"] for m in index["manifests"]}

    def writes(self) -> int:
        """Return how many requests have changed something in the repository."""
        return self.registry.writes(self.name)

    def build(
        self, *, platform: str = "linux/amd64", size: int = 10_000, revision: str = REVISION
    ) -> str:
        """Build an image of two layers unlike any other, and write a report that it passed."""
        name = f"textclf-publish-test:{secrets.token_hex(8)}"
        context = self.folder / "context"
        context.mkdir(exist_ok=True)
        for layer in ("first", "second"):
            (context / layer).write_bytes(secrets.token_bytes(size))
        (context / "Dockerfile").write_text(
            "FROM scratch\nCOPY first /\nCOPY second /\n"
            f"LABEL org.opencontainers.image.version={VERSION} textclf.model.tag=sentiment:tiny-1 "
            f"org.opencontainers.image.revision={revision}\n"
        )
        run_docker("build", "--quiet", "--platform", platform, "--tag", name, str(context))
        self.images.append(image_id(name))
        return name

    def report(self, name: str, file: str = "dist/check.json", **changes: Any) -> Path:
        """Write the report of an image, and return its path."""
        check = {"name": "predict", "outcome": "passed", "detail": "", "seconds": 0.1}
        content = {
            "schema": 1,
            "image": name,
            "image_id": image_id(name),
            "repo_digests": [],
            "complete": True,
            "passed": True,
            "started_at": "2026-01-02T03:04:05+00:00",
            "limits": {},
            "checks": [check],
        }
        path = self.folder / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content | changes))
        return path

    def record(self) -> Any:
        """Read what was written down."""
        return json.loads((self.folder / "dist/publish.json").read_text())


def image_id(name: str) -> str:
    """Return what docker knows an image by."""
    return str(inspect_image(name)["Id"])
