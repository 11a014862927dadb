"""What is installed in an image: read through its own Python, and what of it needs what."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from email.utils import getaddresses
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from pydantic import BaseModel, ConfigDict, ValidationError

from textclf.errors import DockerError, ImageError
from textclf.image import inside
from textclf.image.docker import run_docker
from textclf.image.licences import python_licences, spdx_name

PYTHON = "/app/.venv/bin/python"
# Source: https://packaging.python.org/en/latest/specifications/well-known-project-urls/
_PAGES = ("homepage", "home", "source", "sourcecode", "repository", "github", "documentation")


class _Fact(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OsPackage(_Fact):
    """A package of the operating system, as its package manager describes it."""

    name: str
    version: str
    architecture: str
    source: str
    source_version: str
    maintainer: str | None
    home_page: str | None
    licences: tuple[str, ...]

    @property
    def spdx_licences(self) -> tuple[str, ...]:
        """Licences by SPDX's names where those are certain; none if nothing is known."""
        return tuple(sorted({spdx_name(name) for name in self.licences}))


class Distribution(_Fact):
    """A Python distribution, as its core metadata describe it."""

    name: str
    version: str
    summary: str | None = None
    license_expression: str | None = None
    license: str | None = None
    author: str | None = None
    author_email: str | None = None
    maintainer: str | None = None
    maintainer_email: str | None = None
    home_page: str | None = None
    classifiers: tuple[str, ...] = ()
    project_urls: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()

    @property
    def licences(self) -> tuple[str, ...]:
        """Licences by SPDX's names where those are certain; none if nothing is known."""
        return python_licences(
            expression=self.license_expression, classifiers=self.classifiers, field=self.license
        )

    @property
    def authors(self) -> tuple[str, ...]:
        """Who made it: names, or addresses of those who give no name."""
        for name, addresses in (
            (self.author, self.author_email),
            (self.maintainer, self.maintainer_email),
        ):
            people = [name] if name else [n or a for n, a in getaddresses([addresses or ""])]
            if found := tuple(sorted({person.strip() for person in people if person.strip()})):
                return found
        return ()

    @property
    def website(self) -> str | None:
        """Its home page, or else where its source or its documentation is."""
        pages = {
            re.sub(r"[\W_]", "", label).lower(): url.strip()
            for label, _, url in (entry.partition(",") for entry in self.project_urls)
        }
        return self.home_page or next((pages[name] for name in _PAGES if name in pages), None)


class Inventory(_Fact):
    """All that is installed in an image."""

    os_release: dict[str, str]
    os_packages: tuple[OsPackage, ...]
    python_distributions: tuple[Distribution, ...]
    marker_environment: dict[str, str]


def read_inventory(image_id: str, reference: str) -> Inventory:
    """Ask the Python of an image what is installed in the image.

    Nothing of the image's own runs but the interpreter, with neither network nor rights.

    Args:
        image_id: The image that is asked, whatever its name means by now.
        reference: What messages call it.

    Raises:
        DockerError: The image has no such Python, it failed, or docker does not answer.
        ImageError: The Python printed something else, or the image has no dpkg database.
    """
    script = Path(inside.__file__).read_bytes()
    try:
        printed = run_docker(
            "run", "--rm", "--interactive", "--network", "none", "--read-only",
            "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
            "--entrypoint", PYTHON, image_id, "-I", "-B", "-",
            stdin=script,
        )  # fmt: skip
    except DockerError as exc:
        raise DockerError(
            f"cannot list what is in {reference} with its {PYTHON}: {exc}; "
            "build the image with scripts/build_image.py"
        ) from exc
    return parse_inventory(printed, reference)


def parse_inventory(printed: str, reference: str) -> Inventory:
    """Read what the Python of an image printed.

    Raises:
        ImageError: It is no inventory, or one without packages of the operating system.
    """
    try:
        inventory = Inventory.model_validate_json(printed)
    except ValidationError as exc:
        fault = exc.errors()[0]
        place = ".".join(map(str, fault["loc"])) or "output"
        raise ImageError(
            f"{PYTHON} of {reference} did not print a list of what is installed: {place}: "
            f"{fault['msg']}; run it by hand on textclf/image/inside.py"
        ) from exc
    if not inventory.os_packages:
        raise ImageError(
            f"{reference} has no dpkg database, so nothing is known of its operating system; "
            "build it on a Debian image, distroless ones too"
        )
    return inventory


def resolve_requirements(
    distributions: Sequence[Distribution], environment: Mapping[str, str]
) -> dict[str, set[str]]:
    """Return which installed distributions each one needs, all by their normalised names.

    An extra counts where a distribution that is installed asks for it.

    Raises:
        ImageError: A requirement cannot be read.
    """
    requires: dict[str, list[Requirement]] = {}
    for distribution in distributions:  # the first of a name is the one that is imported
        requires.setdefault(canonicalize_name(distribution.name), _requirements(distribution))
    needs: dict[str, set[str]] = {name: set() for name in requires}
    waiting, seen = [(name, "") for name in requires], set[tuple[str, str]]()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for requirement in requires[name]:
            target = canonicalize_name(requirement.name)
            marker = requirement.marker
            if target not in requires or (
                marker and not marker.evaluate({**environment, "extra": extra})
            ):
                continue
            waiting += [(target, asked) for asked in requirement.extras]
            needs[name] |= {target} - {name}
    return needs


def _requirements(distribution: Distribution) -> list[Requirement]:
    try:
        return [Requirement(line) for line in distribution.requires]
    except InvalidRequirement as exc:
        raise ImageError(
            f"{distribution.name} {distribution.version} has a requirement that cannot be read: "
            f"{exc}; pin another version of it"
        ) from exc


def entry_points(needs: Mapping[str, set[str]]) -> list[str]:
    """Return the fewest names, as far as that is easy, from which every other is reached."""
    required = set().union(*needs.values())
    entries: list[str] = []
    reached: set[str] = set()
    for name in sorted(needs, key=lambda name: (name in required, name)):  # a ring comes last
        if name not in reached:
            entries.append(name)
            waiting = {name}
            while waiting:
                reached |= waiting
                waiting = set().union(*(needs[each] for each in waiting)) - reached
    return entries
