"""What was published: where, when, and on what evidence."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from textclf import __version__
from textclf.image.publishing import Release


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a repository has, as it was seen there.

    Attributes:
        repository: Its name.
        digest: Of the manifest, or of the index of an image an architecture.
        manifests: Digest of each image's manifest, by architecture.
        tags: All that stand for it, and those of single images.
        pushed: Those of the tags that were not there before.
        seconds: How long it took.
    """

    repository: str
    digest: str
    manifests: Mapping[str, str]
    tags: tuple[str, ...]
    pushed: tuple[str, ...]
    published_at: str
    seconds: float

    @property
    def reference(self) -> str:
        """What to deploy."""
        return f"{self.repository}@{self.digest}"


def record(release: Release, published: Sequence[Published], *, repositories: int) -> str:
    """Return what was published where, when and on what evidence, as JSON.

    Args:
        release: What was to be published.
        published: What was seen in the repositories so far.
        repositories: How many there are to be.
    """
    content = {
        "schema": 1,
        "complete": len(published) == repositories,
        "version": release.version,
        "revision": release.images[0].revision,
        "model": release.images[0].model[0],
        "textclf": __version__,
        "images": [
            {
                "image": image.name,
                "image_id": image.image_id,
                "architecture": image.architecture,
                "report": {
                    "path": str(image.report.path),
                    "sha256": image.report.sha256,
                    "started_at": image.report.started_at,
                },
            }
            for image in release.images
        ],
        "published": [
            {
                "reference": made.reference,
                "repository": made.repository,
                "digest": made.digest,
                "manifests": dict(made.manifests),
                "tags": list(made.tags),
                "pushed": list(made.pushed),
                "published_at": made.published_at,
                "seconds": round(made.seconds, 2),
            }
            for made in published
        ],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def workflow_outputs(published: Sequence[Published]) -> str:
    """Return lines for ``$GITHUB_OUTPUT``: the first repository's, then all references as JSON."""
    references = json.dumps([made.reference for made in published])
    first = published[0]
    return f"digest={first.digest}\nimage={first.reference}\nimages={references}\n"
