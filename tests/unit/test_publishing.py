"""What an image is published as: its labels, its tags, the plan and the record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from textclf.errors import (
    PublishError,
)
from textclf.image.evidence import Report
from textclf.image.publication import Published, record, workflow_outputs
from textclf.image.publishing import (
    Image,
    Release,
    is_same,
    make_release,
    plan_repository,
    read_image,
    render_plan,
)
from textclf.image.registry import Held, Manifest

REVISION = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "ghcr.io/owner/textclf"
_LABEL = "org.opencontainers.image."


def report(image_id: str = "sha256:amd64", **changes: Any) -> Report:
    """Return the report of an image that passed."""
    content: dict[str, Any] = {
        "path": Path("dist/check.json"),
        "sha256": "0" * 64,
        "image": "textclf:0.3.1",
        "image_id": image_id,
        "complete": True,
        "passed": True,
        "started_at": "2026-01-02T03:04:05+00:00",
        "failed": (),
    }
    return Report(**content | changes)


def image(architecture: str = "amd64", **labels: str | None) -> Image:
    """Return an image of two layers; a label that is None is missing."""
    given = {
        f"{_LABEL}version": "0.3.1",
        f"{_LABEL}revision": REVISION,
        "textclf.model.tag": "sentiment:tiny-1",
    } | labels
    inspected = {
        "Id": f"sha256:{architecture}",
        "Architecture": architecture,
        "RootFS": {"Layers": ["sha256:1", "sha256:2"]},
        "Config": {"Labels": {key: value for key, value in given.items() if value is not None}},
    }
    return read_image(f"textclf:{architecture}", inspected, report(f"sha256:{architecture}"))


def held(*architectures: str, layers: int = 2, **changes: str) -> Held:
    """Return what a registry has of such images."""
    manifests = tuple(
        Manifest(
            digest=changes.get("digest", f"sha256:manifest-{name}"),
            config=changes.get("config", f"sha256:{name}"),
            layers=("sha256:a", "sha256:b")[:layers],
            architecture=changes.get("architecture", name),
        )
        for name in architectures
    )
    return Held(manifests=manifests, is_index=len(architectures) > 1)


def test_what_an_image_says_of_itself() -> None:
    """Version, revision and model come from the labels."""
    found = image("amd64", **{"textclf.model.sha256": "abc"})

    assert (found.version, found.revision) == ("0.3.1", REVISION)
    assert found.model == ("sentiment:tiny-1", "abc")


@pytest.mark.parametrize(
    ("label", "value", "message"),
    [
        ("version", None, "has no label"),
        ("revision", None, "has no label"),
        ("version", "0.3.1-dirty", "names no commit"),
        ("version", "0.3.1-5-gabc1234-dirty_reference-2", "names no commit"),
        ("version", "latest", "names no commit"),
        ("version", "0.3.1+local", "does not match"),
        ("version", "-0.3.1", "does not match"),
        ("version", "v" * 129, "does not match"),
        ("version", "0.3.1\n", "does not match"),
        ("version", "", "does not match"),
        ("revision", REVISION[:12], "does not match"),
        ("revision", REVISION.upper(), "does not match"),
    ],
)
def test_an_image_that_cannot_be_named(label: str, value: str | None, message: str) -> None:
    """A missing label, or one that cannot become a tag, is refused."""
    with pytest.raises(PublishError, match=message):
        image("amd64", **{_LABEL + label: value})


@pytest.mark.parametrize(
    ("latest", "expected"),
    [(False, ("0.3.1", "sha-0123456789ab")), (True, ("0.3.1", "sha-0123456789ab", "latest"))],
    ids=["a branch", "main"],
)
def test_tags(latest: bool, expected: tuple[str, ...]) -> None:
    """An image gets its version and its commit, and is latest only where that is said."""
    assert make_release([image()], latest=latest).tags == expected


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (image(), "one image an architecture"),
        (image("arm64", **{f"{_LABEL}version": "0.3.2"}), "differ in their version"),
        (image("arm64", **{f"{_LABEL}revision": "f" * 40}), "differ in their revision"),
        (image("arm64", **{"textclf.model.tag": "sentiment:tiny-2"}), "differ in their model"),
        (image("arm64", **{"textclf.model.sha256": "abc"}), "differ in their model"),
    ],
    ids=["architecture", "version", "revision", "model tag", "model file"],
)
def test_images_that_do_not_belong_together(other: Image, message: str) -> None:
    """What differs in anything but the architecture is no release."""
    with pytest.raises(PublishError, match=message):
        make_release([image(), other], latest=False)


def test_a_version_too_long_for_an_architecture() -> None:
    """A version that fits into a tag only by itself is refused before anything is pushed."""
    images = [image(name, **{f"{_LABEL}version": "v" * 128}) for name in ("amd64", "arm64")]

    make_release(images[:1], latest=False)
    with pytest.raises(PublishError, match="too long"):
        make_release(images, latest=False)


ONE = make_release([image()], latest=True)
TWO = make_release([image(), image("arm64")], latest=False)


@pytest.mark.parametrize(
    ("release", "now", "expected"),
    [
        (ONE, {}, {"0.3.1": "new", "sha-0123456789ab": "new", "latest": "new"}),
        (
            ONE,
            {"0.3.1": held("amd64"), "latest": held("amd64", config="sha256:other")},
            {"0.3.1": "there", "sha-0123456789ab": "new", "latest": "moves"},
        ),
        (
            TWO,
            {"0.3.1-amd64": held("amd64"), "sha-0123456789ab": held("amd64")},
            {"0.3.1-amd64": "there", "0.3.1-arm64": "new", "0.3.1": "new",
             "sha-0123456789ab": "moves"},
        ),
        (
            TWO,
            {"0.3.1": held("arm64", "amd64")},
            {"0.3.1-amd64": "new", "0.3.1-arm64": "new", "0.3.1": "there",
             "sha-0123456789ab": "new"},
        ),
    ],
    ids=["an empty repository", "half of it", "half an index", "the index"],
)  # fmt: skip
def test_a_plan(release: Release, now: dict[str, Held], expected: dict[str, str]) -> None:
    """A tag is new, there already, or moves to the image."""
    tags = [*release.image_tags, *release.tags]
    plan = plan_repository(REPOSITORY, release, dict.fromkeys(tags) | now)

    assert {tag.tag: tag.status for tag in plan.tags} == expected
    assert not plan.unchanged


@pytest.mark.parametrize(
    ("release", "tag", "now"),
    [
        (ONE, "0.3.1", held("amd64", config="sha256:other")),
        (ONE, "0.3.1", held("amd64", layers=1)),
        (ONE, "0.3.1", held("amd64", "arm64")),
        (TWO, "0.3.1", held("amd64")),
        (TWO, "0.3.1", held("amd64", "arm64", "s390x")),
        (TWO, "0.3.1", held("amd64", "arm64", architecture="amd64")),
        (TWO, "0.3.1-arm64", held("amd64")),
    ],
    ids=["another image", "a layer less", "an index", "no index", "one more", "wrong architecture",
         "the other one"],
)  # fmt: skip
def test_a_version_that_is_taken(release: Release, tag: str, now: Held) -> None:
    """A version that stands for anything else is never overwritten; both sides are named."""
    tags = [*release.image_tags, *release.tags]
    with pytest.raises(PublishError, match=f"{REPOSITORY}:{tag} is taken") as refused:
        plan_repository(REPOSITORY, release, dict.fromkeys(tags) | {tag: now})

    assert now.manifests[0].digest in str(refused.value)
    assert "not the image sha256:" in str(refused.value)


def test_an_id_of_containerds_image_store() -> None:
    """Where docker knows an image by its manifest's digest, that decides."""
    assert is_same(held("amd64", digest="sha256:amd64", config="sha256:c"), [image()])


def test_a_rendered_plan() -> None:
    """A person reads what is published where, and what is there now."""
    now = {"0.3.1": None, "sha-0123456789ab": None, "latest": held("amd64", config="sha256:other")}
    lines = render_plan(ONE, [plan_repository(REPOSITORY, ONE, now)]).splitlines()

    assert lines[1].split() == [
        *("textclf:amd64", "amd64", "amd64", "sentiment:tiny-1", "2026-01-02T03:04:05+00:00"),
    ]
    assert lines[-2].split() == [REPOSITORY, "sha-0123456789ab", "new"]
    assert lines[-1].split() == [REPOSITORY, "latest", "other", "moves"]


def published(repository: str) -> Published:
    """Return what was seen in a repository."""
    return Published(
        repository=repository,
        digest="sha256:d",
        manifests={"amd64": "sha256:d"},
        tags=ONE.tags,
        pushed=ONE.tags[:1],
        published_at="2026-01-02T03:04:05+00:00",
        seconds=1.234,
    )


def test_a_record_of_half_a_publication() -> None:
    """It holds what was seen, on what evidence, and that it is not all."""
    content = json.loads(record(ONE, [published(REPOSITORY)], repositories=2))

    assert content["complete"] is False
    assert content["published"][0]["reference"] == f"{REPOSITORY}@sha256:d"
    assert content["images"][0]["report"]["sha256"] == "0" * 64
    assert json.loads(record(ONE, [published(REPOSITORY)], repositories=1))["complete"] is True


def test_workflow_outputs() -> None:
    """Three lines: digest and reference in the first repository, and every reference."""
    lines = workflow_outputs([published(REPOSITORY), published("docker.io/o/t")]).splitlines()

    assert lines == [
        "digest=sha256:d",
        f"image={REPOSITORY}@sha256:d",
        f'images=["{REPOSITORY}@sha256:d", "docker.io/o/t@sha256:d"]',
    ]
