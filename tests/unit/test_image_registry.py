"""Names of repositories, and what becomes of a registry's answers."""

from __future__ import annotations

import pytest

from scripts.publish_image import main
from textclf.errors import (
    DockerError,
    PublishError,
    RegistryAccessError,
)
from textclf.image import registry
from textclf.image.registry import Remote, parse_repository

REPOSITORY = "ghcr.io/owner/textclf"


@pytest.mark.parametrize(
    "name",
    [
        "ghcr.io/owner/textclf",
        "docker.io/owner/textclf",
        "127.0.0.1:5000/textclf",
        "localhost/a__b/c-d.e",
        "registry:5000/team/textclf",
    ],
)
def test_a_repository(name: str) -> None:
    """A registry's host and a name in it are a repository."""
    assert parse_repository(name) == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("https://ghcr.io/owner/textclf", "leave the scheme out"),
        ("ghcr.io/owner/textclf:0.3.1", "leave the tag out"),
        (f"ghcr.io/owner/textclf@sha256:{'0' * 64}", "leave the digest out"),
        ("ghcr.io/Owner/textclf", "lower case"),
        ("textclf", "give HOST/NAME"),
        ("owner/textclf", "give HOST/NAME"),
        ("ghcr.io/owner//textclf", "give HOST/NAME"),
        ("ghcr.io/owner/textclf\x1b[2J", "\\\\x1b"),
        ("--privileged/textclf", "give HOST/NAME"),
        ("", "give HOST/NAME"),
    ],
    ids=["scheme", "tag", "digest", "case", "no host", "no host, owner", "empty part", "control",
         "option", "empty"],
)  # fmt: skip
def test_no_repository(name: str, message: str) -> None:
    """Anything else is refused, with what to leave out or to give."""
    with pytest.raises(ValueError, match=message):
        parse_repository(name)


@pytest.mark.parametrize(
    "name",
    ["https://me:PLANTED@ghcr.io/owner/textclf", "me:PLANTED@ghcr.io/owner/textclf"],
    ids=["with scheme", "without"],
)
def test_credentials_are_not_repeated(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A repository with a password in it is a wrong command line, which does not show it."""
    with pytest.raises(SystemExit, match="2"):
        main(["textclf:0.3.1", "--to", name])
    shown = "".join(capsys.readouterr())

    assert "use docker login" in shown
    assert "PLANTED" not in shown


@pytest.mark.parametrize(
    ("said", "expected", "message"),
    [
        ("no basic auth credentials", RegistryAccessError, "docker login ghcr.io"),
        ("unauthorized: authentication required", RegistryAccessError, "docker login ghcr.io"),
        ("denied: requested access is denied", RegistryAccessError, "docker login ghcr.io"),
        ("unexpected status: 403 Forbidden", RegistryAccessError, "docker login ghcr.io"),
        ("received unexpected HTTP status: 500 Internal", PublishError, "disk is full"),
        ("received unexpected HTTP status: 502 Bad Gateway", PublishError, "fails by itself"),
        ("dial tcp: lookup ghcr.io: no such host", PublishError, "see that ghcr.io runs"),
        ("connect: connection refused", PublishError, "see that ghcr.io runs"),
        ("x509: certificate signed by unknown authority", PublishError, "see that ghcr.io runs"),
        ("unsupported manifest format: &{", PublishError, "something else under this digest"),
        ("101 58 " * 300, PublishError, "something else under this digest"),
        ("manifest for i not found: manifest unknown", PublishError, "does not have what it had"),
        ('failed to resolve reference "ghcr.io/o/t:1": ghcr.io/o/t:1: not found', PublishError,
         "does not have what it had"),
        ("permission denied while trying to connect to the docker API at unix:///", DockerError,
         "permission"),
        ("Cannot connect to the Docker daemon at unix:///", DockerError, "Cannot connect"),
        ("permission denied while trying to connect to the Docker daemon socket", DockerError,
         "permission"),
    ],
)  # fmt: skip
def test_what_docker_says(
    said: str, expected: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry that refuses, fails or is away is told apart, and from docker's own trouble."""

    def refuse(*arguments: str, **_: float) -> str:
        raise DockerError(f"docker {arguments[0]} failed: {said}")

    monkeypatch.setattr(registry, "run_docker", refuse)
    with pytest.raises(expected, match=message) as raised:
        Remote(REPOSITORY, timeout_seconds=1).pull("0.3.1")

    assert type(raised.value) is expected


def test_what_a_registry_says_is_short_and_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry's words steer no terminal and fill no screen."""

    def refuse(*_: str, **__: float) -> str:
        raise DockerError("\x1b[2J" + "x" * 10_000)

    monkeypatch.setattr(registry, "run_docker", refuse)
    with pytest.raises(PublishError) as raised:
        Remote(REPOSITORY, timeout_seconds=1).look("0.3.1")

    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize(
    "told",
    ["", "{}", '{"Descriptor": {"digest": "d"}}', '[{"Descriptor": {"digest": "d"}}]', "[1]"],
    ids=["nothing", "empty", "no manifest", "an index of none", "no object"],
)
def test_what_is_no_image(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tag that stands for something that cannot be compared is neither free nor equal."""
    monkeypatch.setattr(registry, "run_docker", lambda *_, **__: told)
    with pytest.raises(PublishError, match="cannot be compared"):
        Remote(REPOSITORY, timeout_seconds=1).look("0.3.1")


def test_a_push_without_a_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A push that does not tell what it pushed counts for nothing."""
    monkeypatch.setattr(registry, "run_docker", lambda *_, **__: "pushed, presumably")
    with pytest.raises(PublishError, match="without telling a digest"):
        Remote(REPOSITORY, timeout_seconds=1).push("sha256:amd64", "0.3.1")
