"""Publishing to real registries, by docker, with logins, faults and a second architecture."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.publish_image import main
from tests.conftest import require
from tests.image.built import docker_answers
from tests.image.registry import (
    PASSWORD,
    USER,
    Registry,
    free_port,
    registry_is_installed,
    small_registry,
    write_login,
)
from tests.image.workplace import REVISION, SHA_TAG, VERSION, Workplace, image_id
from textclf.errors import (
    PublishError,
    RegistryAccessError,
    SourceStateError,
    UncheckedImageError,
)
from textclf.image.docker import inspect_image, run_docker
from textclf.image.evidence import read_report
from textclf.image.publishing import make_release, plan_repository, read_image
from textclf.image.pushing import look_at_all, publish, verify
from textclf.image.registry import Remote

_BLOBS = 3  # of a tiny image: two layers and the configuration


@pytest.fixture(autouse=True, scope="module")
def _real_parts() -> None:
    require(docker_answers(), "docker does not answer")
    require(registry_is_installed(), "docker-registry is not installed (Debian: docker-registry)")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that several tests publish to, each in a repository of its own."""
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def workplace(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workplace]:
    """A folder to publish from; its images and all their tags go with it."""
    name, login = f"team/textclf-{secrets.token_hex(4)}", tmp_path / "docker"
    write_login(login, registry.host)
    monkeypatch.setenv("DOCKER_CONFIG", str(login))
    monkeypatch.chdir(tmp_path)
    workplace = Workplace(tmp_path, registry, name, login)
    yield workplace
    for built in workplace.images:
        run_docker("rmi", "--force", built)


@pytest.fixture
def image(workplace: Workplace) -> str:
    """A checked image."""
    name = workplace.build()
    workplace.report(name)
    return name


def test_publishing(
    workplace: Workplace,
    image: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is there under every tag, pushed once, and told on stdout, in the record and as output."""
    code = main([image, "--to", workplace.repository, "--yes", "--outputs", "outputs"])
    shown = capsys.readouterr()
    tags = workplace.tags()
    (digest,) = set(tags.values())
    (made,) = workplace.record()["published"]

    assert (code, shown.out) == (0, f"{workplace.repository}@{digest}\n")
    assert set(tags) == {VERSION, SHA_TAG}
    assert workplace.registry.uploads(workplace.name) == _BLOBS
    assert workplace.record()["complete"] is True
    assert (made["reference"], made["tags"]) == (
        f"{workplace.repository}@{digest}",
        [VERSION, SHA_TAG],
    )
    assert workplace.record()["images"][0]["image_id"] == image_id(image)
    assert (workplace.folder / "outputs").read_text().splitlines() == [
        f"digest={digest}",
        f"image={workplace.repository}@{digest}",
        f'images=["{workplace.repository}@{digest}"]',
    ]
    assert PASSWORD not in shown.err + (workplace.folder / "dist/publish.json").read_text()


def test_publishing_again(
    workplace: Workplace,
    image: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is there is not pushed again, and nobody is asked."""
    assert main([image, "--to", workplace.repository, "--yes"]) == 0
    first = capsys.readouterr().out
    writes = workplace.writes()

    assert main([image, "--to", workplace.repository]) == 0
    assert capsys.readouterr().out == first
    assert workplace.writes() == writes
    assert workplace.record()["published"][0]["pushed"] == []


def test_a_dry_run_changes_nothing(
    workplace: Workplace,
    image: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It shows the plan, and leaves the registry, docker's tags and the folder as they were."""
    assert main([image, "--to", workplace.repository, "--dry-run"]) == 0
    assert re.search(rf"{workplace.repository} +{VERSION} +new\n", capsys.readouterr().out)
    assert (workplace.tags(), workplace.writes()) == ({}, 0)
    assert inspect_image(image)["RepoTags"] == [image]
    assert [path.name for path in (workplace.folder / "dist").iterdir()] == ["check.json"]


def test_nobody_can_be_asked(
    workplace: Workplace, image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal and without --yes nothing is published."""
    assert main([image, "--to", workplace.repository]) == PublishError.exit_code
    assert "give --yes" in capsys.readouterr().err
    assert workplace.tags() == {}


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("\n", 1)], ids=["yes", "no"])
def test_a_person_is_asked(
    workplace: Workplace, image: str, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    """At a terminal it asks, and publishes after a yes only."""
    leader, follower = os.openpty()
    os.write(leader, answer.encode())
    with os.fdopen(leader, "wb"), os.fdopen(follower) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        assert main([image, "--to", workplace.repository]) == code

    assert (VERSION in workplace.tags()) == (code == 0)


def test_a_version_is_never_overwritten(
    workplace: Workplace,
    image: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Another image of the same version is refused, with what is there and what is not."""
    other = workplace.build()
    assert main([image, "--to", workplace.repository, "--yes"]) == 0
    before = workplace.tags()
    workplace.report(other)

    assert main([other, "--to", workplace.repository, "--yes"]) == PublishError.exit_code
    shown = capsys.readouterr().err
    assert before[VERSION] in shown
    assert image_id(image) in shown
    assert image_id(other) in shown
    assert workplace.tags() == before


def test_tags_that_move(workplace: Workplace, image: str) -> None:
    """The tag of a commit moves to its newest image, and the version that was missing is added."""
    earlier = f"{workplace.repository}:{SHA_TAG}"
    run_docker("tag", workplace.build(), earlier)
    run_docker("push", earlier)
    before = workplace.tags()

    assert main([image, "--to", workplace.repository, "--yes"]) == 0
    after = workplace.tags()
    assert after[SHA_TAG] == after[VERSION] != before[SHA_TAG]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_id": "sha256:" + "0" * 64}, "no report is about"),
        ({"complete": False}, "is partial"),
        (
            {
                "passed": False,
                "checks": [{"name": "predict", "outcome": "failed", "detail": "500"}],
            },
            "failed its checks.*predict \\(500\\)",
        ),
        ({"schema": 2}, "is no check report: schema"),
    ],
    ids=["another image", "partial", "failed", "unreadable"],
)
def test_an_unchecked_image_is_refused(
    workplace: Workplace,
    image: str,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    message: str,
) -> None:
    """Only a passing, complete report of this very image lets it through."""
    workplace.report(image, **changes)

    assert main([image, "--to", workplace.repository, "--yes"]) == UncheckedImageError.exit_code
    assert re.search(message, capsys.readouterr().err)
    assert workplace.tags() == {}


@pytest.mark.parametrize("password", [None, "wrong"], ids=["no login", "wrong password"])
def test_access_is_refused(
    workplace: Workplace, image: str, capsys: pytest.CaptureFixture[str], password: str | None
) -> None:
    """A registry that refuses is told from one that lacks the tag, before anything is pushed."""
    host = workplace.registry.host
    (workplace.login / "config.json").unlink()
    if password:
        write_login(workplace.login, host, password=password)

    assert main([image, "--to", workplace.repository, "--yes"]) == RegistryAccessError.exit_code
    assert f"docker login {host}" in capsys.readouterr().err
    assert workplace.tags() == {}


def test_dockers_own_login(
    workplace: Workplace, image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `docker login` leaves behind is enough, and its password is not told."""
    host = workplace.registry.host
    (workplace.login / "config.json").unlink()
    run_docker("login", "--username", USER, "--password-stdin", host, stdin=PASSWORD.encode())

    assert main([image, "--to", workplace.repository, "--yes"]) == 0
    assert PASSWORD not in "".join(capsys.readouterr())


def test_latest_is_of_main_alone(
    workplace: Workplace, image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A commit that main does not hold is not latest; one that it holds is."""
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.com")
    for command in (["init", "-q", "-b", "main"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    latest = ["--to", workplace.repository, "--yes", "--latest"]
    assert main([image, *latest]) == SourceStateError.exit_code
    assert f"main does not hold commit {REVISION}" in capsys.readouterr().err

    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    own = workplace.build(revision=head.stdout.strip())
    workplace.report(own)
    assert main([own, *latest]) == 0
    assert set(workplace.tags()) == {VERSION, f"sha-{head.stdout[:12]}", "latest"}


def test_two_architectures(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    """Archives of one name become an index of both, which is what is told, and stays as it is."""
    arguments = ["--to", workplace.repository, "--yes"]
    for platform in ("linux/amd64", "linux/arm64"):
        name = workplace.build(platform=platform)
        archive = platform.replace("/", "-")
        run_docker("tag", name, "textclf-publish-test:same")
        run_docker("save", "textclf-publish-test:same", "--output", f"{archive}.tar")
        report = workplace.report(name, f"{archive}.json")
        arguments = [f"{archive}.tar", *arguments, "--report", str(report)]

    assert main(arguments) == 0
    shown = capsys.readouterr().out
    tags = workplace.tags()
    assert set(tags) == {VERSION, SHA_TAG, f"{VERSION}-amd64", f"{VERSION}-arm64"}
    assert tags[VERSION] == tags[SHA_TAG]
    assert shown == f"{workplace.repository}@{tags[VERSION]}\n"
    assert workplace.platforms(VERSION) == {
        "amd64": tags[f"{VERSION}-amd64"],
        "arm64": tags[f"{VERSION}-arm64"],
    }
    assert workplace.registry.uploads(workplace.name) == 2 * _BLOBS
    writes = workplace.writes()
    assert main(arguments) == 0
    assert (capsys.readouterr().out, workplace.writes()) == (shown, writes)


def test_one_architecture_without_a_report(
    workplace: Workplace, image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report of one architecture does not stand for the other."""
    arm = workplace.build(platform="linux/arm64")

    code = main([image, arm, "--to", workplace.repository, "--yes"])
    assert code == UncheckedImageError.exit_code
    assert f"no report is about {arm}" in capsys.readouterr().err
    assert workplace.tags() == {}


def test_a_manifest_that_was_changed_behind(
    workplace: Workplace, image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another manifest under the digest is noticed, though docker pulls the digest unmoved."""
    assert main([image, "--to", workplace.repository, "--yes"]) == 0
    digest = workplace.tags()[VERSION]
    blob = workplace.registry.blob(digest)
    manifest = json.loads(blob.read_text())
    manifest["layers"].reverse()
    blob.write_text(json.dumps(manifest))
    capsys.readouterr()

    remote = Remote(workplace.repository, timeout_seconds=60)
    assert remote.pull_image(digest) == image_id(image)
    with pytest.raises(PublishError, match="something else under this digest"):
        remote.look(digest)
    assert main([image, "--to", workplace.repository, "--yes"]) == PublishError.exit_code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "published and verified: nothing" in shown.err


@pytest.mark.parametrize("moved", [VERSION, SHA_TAG])
def test_a_tag_that_was_moved_behind(workplace: Workplace, image: str, moved: str) -> None:
    """A tag that someone else moves after the push is noticed when it is verified."""
    assert main([image, "--to", workplace.repository, "--yes"]) == 0
    digest = workplace.tags()[VERSION]
    remote = Remote(workplace.repository, timeout_seconds=60)
    report = read_report(workplace.folder / "dist/check.json")
    published = [read_image(image, inspect_image(image), report)]
    verify(remote, digest, published, [VERSION, SHA_TAG])
    remote.push(image_id(workplace.build()), moved)

    with pytest.raises(PublishError, match=f":{moved} is sha256:.* someone else"):
        verify(remote, digest, published, [VERSION, SHA_TAG])


def test_a_version_that_is_taken_meanwhile(workplace: Workplace, image: str) -> None:
    """A tag that someone else takes between the plan and the push is not overwritten."""
    remote = Remote(workplace.repository, timeout_seconds=60)
    report = read_report(workplace.folder / "dist/check.json")
    release = make_release([read_image(image, inspect_image(image), report)], latest=False)
    plan = plan_repository(remote.name, release, look_at_all(remote, release))
    taken = remote.push(image_id(workplace.build()), VERSION)

    with pytest.raises(PublishError, match="changed by someone else"):
        list(publish([plan], {remote.name: remote}))
    assert workplace.tags() == {VERSION: taken}


def test_a_registry_that_is_not_there(
    workplace: Workplace, image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """All registries are looked at before the first push, and the one that is away is named."""
    away = f"127.0.0.1:{free_port()}"

    code = main([image, "--to", workplace.repository, "--to", f"{away}/team/textclf", "--yes"])
    assert code == PublishError.exit_code
    assert f"see that {away} runs" in capsys.readouterr().err
    assert workplace.tags() == {}


@pytest.mark.usefixtures("workplace")
def test_a_registry_that_never_answers(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever takes connections and says nothing is given up on."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        code = main([image, "--to", f"{host}/team/textclf", "--yes", "--timeout-seconds", "1"])

    assert code == PublishError.exit_code
    assert f"{host} did not finish within 1 s" in capsys.readouterr().err


def test_the_second_registry_is_full(
    workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message says which registry is full and which has the image, and so does the record."""
    image = workplace.build(size=600_000)
    workplace.report(image)
    with small_registry(workplace.folder / "small", image, size="1m") as host:
        write_login(workplace.login, workplace.registry.host, host)
        code = main([image, "--to", workplace.repository, "--to", f"{host}/a/b", "--yes"])
    shown = capsys.readouterr()
    (digest,) = set(workplace.tags().values())
    whole = f"{workplace.repository}@{digest}"

    assert (code, shown.out) == (PublishError.exit_code, f"{whole}\n")
    assert f"{host} fails by itself" in shown.err
    assert "whether its disk is full" in shown.err
    assert f"published and verified: {whole}" in shown.err
    assert workplace.record()["complete"] is False
    assert [made["reference"] for made in workplace.record()["published"]] == [whole]


def test_a_registry_killed_half_way(
    workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed in an upload, it is not said to have anything; started again, it gets the rest."""
    image = workplace.build(size=8_000_000)
    workplace.report(image)
    with Registry(workplace.folder / "second") as second:
        write_login(workplace.login, workplace.registry.host, second.host)
        both = ["--to", workplace.repository, "--to", f"{second.host}/team/textclf", "--yes"]
        killer = second.kill_at_upload()
        code = main([image, *both, "--timeout-seconds", "8"])
        killer.join()
        interrupted, recorded = capsys.readouterr(), workplace.record()
        tags, writes = workplace.tags(), workplace.writes()
        whole = f"{workplace.repository}@{tags[VERSION]}"
        second.start()
        left = second.tags("team/textclf")

        assert (code, interrupted.out) == (PublishError.exit_code, f"{whole}\n")
        assert f"{second.host} did not finish within 8 s" in interrupted.err
        assert f"published and verified: {whole}" in interrupted.err
        assert [made["reference"] for made in recorded["published"]] == [whole]
        assert (recorded["complete"], left) == (False, {})
        assert main([image, *both]) == 0
        assert second.tags("team/textclf") == tags
        assert workplace.writes() == writes
        assert workplace.record()["complete"] is True
