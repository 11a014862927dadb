"""From a clone and a stored model to an image: ``bentoml build``, then ``bentoml containerize``."""

from __future__ import annotations

import logging
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import yaml

from textclf.artifact import GRAPH, Artifact
from textclf.errors import BuildError, DockerError
from textclf.image.docker import inspect_image, read_history, run_docker
from textclf.image.source_state import SourceState

NAME = "textclf"
# The bill of materials and the provenance are ours and signed; buildx would put its own beside the
# image, with the time in it, so that no two builds had one digest.
_VARIABLES = {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What a company or a person may want otherwise.

    Attributes:
        base_image: What the image is built on, with Python 3.11 and pip; empty: what
            bentofile.yaml names.
        ca_bundle: PEM file of the authorities that pip trusts while it downloads.
        pip_config: ``pip.conf`` that names the package index, with its credentials if it has some.
        no_cache: Whether to run every step again.

    The two files are mounted while packages are installed: no layer and no history holds them.
    """

    base_image: str = ""
    ca_bundle: Path | None = None
    pip_config: Path | None = None
    no_cache: bool = False


@dataclass(frozen=True, kw_only=True)
class Base:
    """The image that another is built on.

    Attributes:
        reference: Its name, with its digest where a registry gave it one.
        digest: ``sha256:…`` of the registry, or of its configuration where it never was in one.
        size_bytes: Of its layers, unpacked.
    """

    reference: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """The commands that make an image; anyone can run them by hand.

    Attributes:
        version: Of the Bento and the image.
        image: Reference that the image gets.
        build: Runs in the clone.
        containerize: Runs in ``containerize_folder``.
        containerize_folder: Folder for temporary files: BentoML refuses a Dockerfile template that
            is not below the working folder, and puts its own copy there
            (https://github.com/bentoml/BentoML/issues/5566).
    """

    version: str
    image: str
    build: tuple[str, ...]
    containerize: tuple[str, ...]
    containerize_folder: Path

    def as_shell(self) -> str:
        """Render the commands for a terminal whose working folder is the clone."""
        folder = shlex.quote(str(self.containerize_folder))
        variables = " ".join(f"{name}={value}" for name, value in _VARIABLES.items())
        return (
            f"{shlex.join(self.build)}\n"
            f"(cd {folder} && {variables} {shlex.join(self.containerize)})"
        )


def image_version(source: SourceState, artifact: Artifact) -> str:
    """Return the version of an image: that of the code and that of the model.

    Either makes another image, so ``0.3.1`` with the model ``sentiment:reference-2`` is
    ``0.3.1_reference-2``.
    """
    return f"{source.version}_{artifact.tag.partition(':')[2]}"


def find_base(options: BuildOptions, folder: Path) -> Base:
    """Look at the base image, after pulling it if it is not there.

    Raises:
        BuildError: It can be neither found nor pulled.
    """
    configured = yaml.safe_load((folder / "bentofile.yaml").read_text("utf-8"))
    name = options.base_image or str(configured["docker"]["base_image"])
    try:
        described = inspect_image(name)
    except DockerError:
        _LOGGER.info("pulling %s", name)
        try:
            run_docker("pull", "--quiet", name)
            described = inspect_image(name)
        except DockerError as exc:
            raise BuildError(
                f"the base image {name} is neither here nor can it be pulled: {exc}; name another "
                "with --base-image"
            ) from exc
    digest = _own_digest(name, described.get("RepoDigests") or [])
    return Base(
        reference=f"{name.partition('@')[0]}@{digest}" if digest else name,
        digest=digest or str(described["Id"]),
        size_bytes=sum(size for _, size in read_history(name)),
    )


def _own_digest(name: str, digests: Sequence[str]) -> str:
    """Return the digest that a registry gave an image under this name, or nothing."""
    host, slash, path = name.partition("@")[0].rpartition("/")
    repository = f"{host}{slash}{path.partition(':')[0]}"
    return next((d.partition("@")[2] for d in digests if d.partition("@")[0] == repository), "")


def plan_build(
    source: SourceState, artifact: Artifact, base: Base, options: BuildOptions, created: datetime
) -> BuildPlan:
    """Say which commands make the image."""
    version = image_version(source, artifact)
    image = f"{NAME}:{version}"
    arguments = {
        "BASE_IMAGE": base.reference,
        "BASE_DIGEST": base.digest,
        "CREATED": created.isoformat().replace("+00:00", "Z"),
        "MODEL_SHA256": artifact.description.files[GRAPH],
        "MODEL_TAG": artifact.tag,
        "REVISION": source.revision,
        "SOURCE": source.url,
        "SOURCE_DATE_EPOCH": str(int(created.timestamp())),
        "VERSION": version,
    }
    opts = [f"build-arg={name}={value}" for name, value in arguments.items()]
    for secret, file in (("ca-bundle", options.ca_bundle), ("pip-config", options.pip_config)):
        if file is not None:
            opts.append(f"secret=id={secret},src={_readable(file)}")
    if options.no_cache:
        opts.append("no-cache")
    return BuildPlan(
        version=version,
        image=image,
        build=("bentoml", "build", "--version", version),
        containerize=(
            *("bentoml", "containerize", image, "--image-tag", image),
            *(word for opt in opts for word in ("--opt", opt)),
        ),
        containerize_folder=Path(tempfile.gettempdir()),
    )


@dataclass(frozen=True)
class BuildTimes:
    """How long the two commands took."""

    build_seconds: float
    containerize_seconds: float


def run_build(plan: BuildPlan, folder: Path) -> BuildTimes:
    """Run the commands of a plan; a Bento of the same version is replaced.

    Raises:
        BuildError: One of them failed; the message ends with what it said last.
    """
    if _bentoml(("bentoml", "get", plan.image), folder, shown=False)[0] == 0:
        _checked(("bentoml", "delete", "--yes", plan.image), folder)
    begun = time.monotonic()
    _checked(plan.build, folder)
    built = time.monotonic()
    _checked(plan.containerize, plan.containerize_folder)
    return BuildTimes(built - begun, time.monotonic() - built)


def _checked(command: Sequence[str], folder: Path) -> None:
    code, lines = _bentoml(command, folder, shown=True)
    if code:
        raise BuildError(
            f"{' '.join(command[:2])} failed with exit code {code}; it ends with:\n"
            + "".join(lines[-15:])
        )


def _bentoml(command: Sequence[str], folder: Path, *, shown: bool) -> tuple[int, list[str]]:
    """Run a command of BentoML, whose lines a person can follow, and keep them."""
    variables = [f"{name}={value}" for name, value in _VARIABLES.items()]
    program = str(Path(sys.executable).with_name(command[0]))
    with (
        subprocess.Popen(  # noqa: S603 - no shell
            ["env", *variables, program, *command[1:]],  # noqa: S607 - as found on PATH
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process
    ):
        assert process.stdout  # noqa: S101 - for mypy, as PIPE makes it
        lines = []
        for line in process.stdout:
            lines.append(line)
            if shown:
                sys.stderr.write(line)
    return process.returncode, [line for line in lines if line.strip()]


def _readable(file: Path) -> Path:
    if not file.is_file():
        raise BuildError(f"{file} is no file; name one that pip can read")
    return file.resolve()
