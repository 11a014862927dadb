#!/usr/bin/env python
"""Publish a checked image, or one for each architecture, in one or more registries."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts._command import exit_codes, positive_number, run_command
from textclf.errors import (
    DockerError,
    ImageError,
    PublishError,
    RegistryAccessError,
    SourceStateError,
    TextClassifierError,
    UncheckedImageError,
)
from textclf.image.docker import inspect_image, load_image
from textclf.image.evidence import read_report, require_on_main, require_passed
from textclf.image.publication import Published, record, workflow_outputs
from textclf.image.publishing import (
    Image,
    Plan,
    Release,
    make_release,
    plan_repository,
    read_image,
    render_plan,
)
from textclf.image.pushing import look_at_all, publish
from textclf.image.registry import Remote, parse_repository

_DECLINED = 1
_REPORT = Path("dist/check.json")
_RECORD = Path("dist/publish.json")
_ERRORS: tuple[type[TextClassifierError], ...] = (
    SourceStateError,
    DockerError,
    PublishError,
    UncheckedImageError,
    RegistryAccessError,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Publish the images that ``argv`` names and return the exit code."""
    arguments = _parser().parse_args(argv)
    return run_command(
        lambda: _run(arguments),
        interrupted="run it again; what a registry has already is not pushed twice",
    )


def _run(arguments: argparse.Namespace) -> int:
    release = make_release(_read_images(arguments), latest=arguments.latest)
    if arguments.latest:
        require_on_main(release.images[0].revision, Path.cwd())
    remotes = {
        name: Remote(name, timeout_seconds=arguments.timeout_seconds)
        for name in dict.fromkeys(arguments.to)
    }
    plans = [
        plan_repository(name, release, look_at_all(remote, release))
        for name, remote in remotes.items()
    ]
    dry_text = arguments.dry_run and not arguments.json
    print(render_plan(release, plans), file=sys.stdout if dry_text else sys.stderr, flush=True)
    if arguments.dry_run:
        _print_json(arguments, release, [])
        return 0
    _prepare_files(arguments)
    unchanged = all(plan.unchanged for plan in plans)
    if not unchanged and not arguments.yes and not _confirm(release, plans):
        print("nothing was published", file=sys.stderr)
        return _DECLINED
    _publish(arguments, release, plans, remotes)
    return 0


def _read_images(arguments: argparse.Namespace) -> list[Image]:
    reports = [read_report(path) for path in arguments.report or [_REPORT]]
    images = []
    for name in dict.fromkeys(arguments.images):
        inspected = inspect_image(load_image(name))
        report = require_passed(name, inspected["Id"], reports)
        images.append(read_image(name, inspected, report))
    return images


def _confirm(release: Release, plans: Sequence[Plan]) -> bool:
    if not sys.stdin.isatty():
        raise PublishError(
            f"nobody can be asked whether to publish {release.version}, since standard input is no "
            "terminal; check with --dry-run, then give --yes"
        )
    repositories = ", ".join(plan.repository for plan in plans)
    print(
        f"Publish {release.version} in {repositories}? [y/N] ", end="", file=sys.stderr, flush=True
    )
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _prepare_files(arguments: argparse.Namespace) -> None:
    """See that what is written afterwards can be written."""
    for path in (arguments.record, arguments.outputs):
        if path:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.open("a").close()
            except OSError as exc:
                raise PublishError(
                    f"cannot write {path}: {exc}; nothing was published: name another file"
                ) from exc


def _publish(
    arguments: argparse.Namespace,
    release: Release,
    plans: Sequence[Plan],
    remotes: dict[str, Remote],
) -> None:
    published: list[Published] = []
    _write_record(arguments.record, release, published, plans)
    try:
        for made in publish(plans, remotes):
            published.append(made)
            _write_record(arguments.record, release, published, plans)
            if not arguments.json:
                print(made.reference, flush=True)
    except ImageError as exc:
        whole = ", ".join(made.reference for made in published) or "nothing"
        raise type(exc)(f"{exc}; published and verified: {whole}") from exc
    if arguments.outputs:
        _write(arguments.outputs, workflow_outputs(published), "a")
    print(f"recorded in {arguments.record}", file=sys.stderr)
    _print_json(arguments, release, published)


def _write_record(
    path: Path, release: Release, published: Sequence[Published], plans: Sequence[Plan]
) -> None:
    _write(path, record(release, published, repositories=len(plans)), "w")


def _write(path: Path, content: str, mode: str) -> None:
    try:
        with path.open(mode, encoding="utf-8") as file:
            file.write(content)
    except OSError as exc:
        print(content, file=sys.stderr)
        raise PublishError(
            f"cannot write {path}: {exc}; save what stands above: what was published so far"
        ) from exc


def _print_json(
    arguments: argparse.Namespace, release: Release, published: Sequence[Published]
) -> None:
    if arguments.json:
        result = {
            "version": release.version,
            "tags": release.tags,
            "dry_run": arguments.dry_run,
            "published": [
                {"reference": made.reference, "digest": made.digest, "pushed": made.pushed}
                for made in published
            ],
        }
        print(json.dumps(result, indent=2))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\n\n"
        "The tags come from the image's labels: its version, which is never overwritten, and\n"
        "sha-<commit>. Several images of one version, each for an architecture, are joined in an\n"
        "index. Credentials are docker's own: docker login HOST.",
        epilog=exit_codes(
            "published, or already there", _ERRORS, refused="the answer was no; nothing published"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="name, id, or archive made by docker save"
    )
    parser.add_argument(
        "--to",
        action="append",
        required=True,
        type=_repository,
        metavar="REPOSITORY",
        help="where to publish, HOST/NAME; may be given more than once",
    )
    _add_options(parser)
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--report",
        action="append",
        type=Path,
        metavar="FILE",
        help=f"check report, one for each image (default: {_REPORT})",
    )
    parser.add_argument(
        "--latest",
        action="store_true",
        help="tag it latest too; refused unless branch main holds the image's commit",
    )
    parser.add_argument("--yes", action="store_true", help="publish without asking")
    parser.add_argument("--dry-run", action="store_true", help="show what would be, and stop")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--record",
        type=Path,
        default=_RECORD,
        metavar="FILE",
        help="where to write down what was published (default: %(default)s)",
    )
    parser.add_argument(
        "--outputs",
        type=Path,
        metavar="FILE",
        help="append digest=, image= and images= to this file, as $GITHUB_OUTPUT wants them",
    )
    parser.add_argument(
        "--timeout-seconds",
        type=positive_number,
        default=1800.0,
        metavar="S",
        help="longest time for each push or pull (default: %(default)g)",
    )


def _repository(text: str) -> str:
    try:
        return parse_repository(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


if __name__ == "__main__":
    sys.exit(main())
