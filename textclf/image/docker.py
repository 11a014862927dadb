"""The docker command: run it, and read what it knows of an image."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from textclf.errors import DockerError

_TIMEOUT_SECONDS = 600.0
_MOST_CHARACTERS = 2_000


def run_docker(
    *arguments: str, stdin: bytes = b"", timeout_seconds: float = _TIMEOUT_SECONDS
) -> str:
    """Run ``docker`` to its end and return what it prints on stdout.

    Raises:
        DockerError: There is no such command, no daemon answers, it took too long, or it refused;
            the message ends with what docker says.
    """
    shown = f"docker {' '.join(arguments[:2])}"
    try:
        done = subprocess.run(  # noqa: S603 - no shell
            ["docker", *arguments],  # noqa: S607 - as found on PATH
            check=False,
            input=stdin,
            capture_output=True,
            timeout=timeout_seconds,
        )
    except FileNotFoundError as exc:
        raise DockerError("there is no docker command; install Docker 20.10 or newer") from exc
    except subprocess.TimeoutExpired as exc:
        raise DockerError(
            f"{shown} did not end within {timeout_seconds:g} s; see whether the daemon answers: "
            "docker info"
        ) from exc
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip() or f"exit code {done.returncode}"
        if len(said) > _MOST_CHARACTERS:
            half = _MOST_CHARACTERS // 2
            said = f"{said[:half]} … {said[-half:]}"
        raise DockerError(f"{shown} failed: {said}")
    return done.stdout.decode("utf-8", "replace")


def inspect_image(reference: str) -> dict[str, Any]:
    """Return what ``docker image inspect`` says of one image of this daemon.

    ``Id`` is the digest of its configuration, which names every layer: two images with one ``Id``
    are the same image.

    Raises:
        DockerError: There is no such image, or docker does not answer.
    """
    (described,) = json.loads(run_docker("image", "inspect", reference))
    return dict(described)


def read_history(reference: str) -> list[tuple[str, int]]:
    """Return the instruction and the unpacked bytes of each layer of an image, lowest first.

    ``docker image inspect`` gives packed bytes where containerd stores the images.

    Raises:
        DockerError: There is no such image, or docker does not answer.
    """
    form = "[{{json .CreatedBy}}, {{.Size}}]"  # an instruction may have several lines
    steps = run_docker("history", "--no-trunc", "--human=false", "--format", form, reference)
    return [(step[0], step[1]) for step in map(json.loads, reversed(steps.splitlines()))]


def load_image(image: str) -> str:
    """Return a reference to an image; if ``image`` is an archive of ``docker save``, load it first.

    Raises:
        DockerError: The archive holds no image, or docker does not answer.
    """
    if not Path(image).is_file():
        return image
    loaded = run_docker("load", "--input", image)
    names = re.findall(r"^Loaded image(?: ID)?: (\S+)$", loaded, re.MULTILINE)
    if len(names) != 1:
        raise DockerError(f"{image} holds {len(names)} images; save one: docker save IMAGE -o FILE")
    return str(names[0])
