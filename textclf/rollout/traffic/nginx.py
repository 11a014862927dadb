"""nginx, on one machine: a configuration that is rendered, tested and reloaded.

``python -m textclf.rollout.traffic.nginx`` runs an nginx that rollouts can move: in the foreground,
with everything that it writes in a folder of its own, all traffic on the stable version at first.
Where it listens and how it treats clients is kept in that folder, and no rollout changes it.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textclf.errors import TrafficError
from textclf.rollout.traffic.nginx_config import Site, Upstreams, address, render_config
from textclf.rollout.traffic.nginx_folder import CONFIG, NEXT, Folder
from textclf.rollout.traffic.traffic import Traffic, Weights

_MODULE = "textclf.rollout.traffic.nginx"
_RELOAD_SECONDS = 15.0
# The first process starts workers, and tells those before them 0.1 s later to take no more
# connections: so many answers in a row, over so long, come from the new ones.
_ANSWERS = 20
_SETTLING_SECONDS = 0.3
_PAUSE_SECONDS = 0.01


class Nginx:
    """An nginx that runs from a folder.

    Attributes:
        name: As the command line has it.
        has_baseline: Whether a URL of a fresh copy of the stable version was given.
        mirrors: Whether a URL of a recorder was given.
    """

    name = "nginx"

    def __init__(self, folder: Path, upstreams: Upstreams, *, program: str = "nginx") -> None:
        """Describe it; nothing is started or asked yet.

        Args:
            folder: That ``prepare`` laid: its configuration, its logs and the number of its first
                process.
            upstreams: Where requests go.
            program: Name or path.
        """
        self.has_baseline = upstreams.baseline is not None
        self.mirrors = upstreams.recorder is not None
        self._folder = Folder(folder)
        self._upstreams = upstreams
        self._program = program

    def read(self) -> Weights:
        """Return how the running nginx shares requests out.

        Raises:
            TrafficError: It does not answer, or sends requests to a version that is not named.
        """
        status = self._ask(self._folder.read_site())
        shares = dict(status["shares"])
        candidate = shares.pop(self._address(self._upstreams.candidate), 0)
        baseline = shares.pop(self._address(self._upstreams.baseline), 0)
        shares.pop(address(self._upstreams.stable, "stable"), 0)
        if shares:
            raise TrafficError(
                f"nginx in {self._folder.path} sends {_render(shares)}, which is no version of "
                "this rollout; name the versions that it serves, or move its traffic to them first"
            )
        return Weights(
            candidate_percent=candidate,
            baseline_percent=baseline,
            mirror_percent=status["mirror_percent"],
        )

    def move(self, weights: Weights) -> None:
        """Share requests out; returns when every worker does.

        Raises:
            TrafficError: nginx refuses the configuration or does not take it, or a file cannot be
                written; the configuration before is in force again.
        """
        site = self._folder.read_site()
        text, generation = render_config(site, self._upstreams, weights)
        if self._ask(site)["generation"] == generation and self._folder.holds(text):
            return
        self._test(text)
        self._folder.take_next()
        try:
            self._reload(site, generation)
        except TrafficError:
            self._folder.take_previous()
            with contextlib.suppress(TrafficError):
                self._signal()  # in case it is only slow
            raise

    def prepare(self, site: Site) -> None:
        """Lay the folder of an nginx that is to be started: all traffic on the stable version.

        A configuration that is there stays, since a rollout may be under way.

        Args:
            site: What of the configuration stays; what is not set explicitly is as it was kept.

        Raises:
            TrafficError: nginx refuses it or is not installed, the folder is of another site, or
                it cannot be written.
        """
        if self._folder.lay():
            self._require_same(site)
            return
        self._test(render_config(site, self._upstreams, Weights())[0])
        self._folder.write_site(site)
        self._folder.take_next()

    def passed_over(self) -> Counter[str]:
        """Return how many requests for each version another was asked to answer, since the start.

        Such a version refused or reset the connection, or was silent for longer than the site
        allows. Clients do not see it, and it does not count it itself.
        The count is that of access.log, from its first line to its last: two readings apart say
        what came between them, and a process that starts anew reads the same. A name that stands
        for several addresses is passed over whenever one of them is, so name one address.

        Raises:
            TrafficError: The log cannot be read.
        """
        return self._folder.count_passed_over()

    def command(self) -> list[str]:
        """Return what runs it in the foreground."""
        folder = self._folder.path
        return [self._program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", CONFIG]

    def _require_same(self, site: Site) -> None:
        kept = self._folder.read_site()
        differences = [
            f"{name} {getattr(kept, name)}, not {getattr(site, name)}"
            for name in sorted(site.model_fields_set)
            if getattr(kept, name) != getattr(site, name)
        ]
        if differences:
            raise TrafficError(
                f"{self._folder.path} has an nginx of {'; '.join(differences)}; leave that option "
                "out to keep it so, or stop it and start one in an empty folder"
            )

    def _address(self, url: str | None) -> str | None:
        return None if url is None else address(url, "version")

    def _ask(self, site: Site) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", site.status_port, timeout=5)
        try:
            connection.request("GET", "/traffic")
            status = json.loads(connection.getresponse().read())
            status["generation"], status["mirror_percent"], status["shares"].items()
        except (OSError, http.client.HTTPException, ValueError, TypeError, LookupError) as exc:
            raise TrafficError(
                f"nginx in {self._folder.path} does not answer on 127.0.0.1:{site.status_port}: "
                f"{exc}; start it with `python -m {_MODULE}`, or name another --nginx-folder"
            ) from exc
        else:
            return dict(status)
        finally:
            connection.close()

    def _test(self, text: str) -> None:
        self._folder.write_next(text)
        try:
            self._run("-t", "-q", config=NEXT)
        except TrafficError:
            self._folder.drop_next()
            raise

    def _reload(self, site: Site, generation: str) -> None:
        self._signal()
        deadline = time.monotonic() + _RELOAD_SECONDS
        answers, since = 0, 0.0
        while answers < _ANSWERS or time.monotonic() < since + _SETTLING_SECONDS:
            now = time.monotonic()
            if now > deadline:
                raise TrafficError(
                    f"nginx in {self._folder.path} was reloaded {_RELOAD_SECONDS:.0f} s ago and "
                    "still answers from the configuration before; its error.log ends: "
                    f"{self._folder.error_log_end()}"
                )
            if self._ask(site)["generation"] == generation:
                since = since if answers else now
                answers += 1
            else:
                answers = 0
            time.sleep(_PAUSE_SECONDS)

    def _signal(self) -> None:
        self._run("-s", "reload", config=CONFIG)

    def _run(self, *options: str, config: str) -> None:
        folder = str(self._folder.path)
        command = [self._program, *options, "-p", folder, "-e", "stderr", "-c", config]
        try:
            subprocess.run(  # noqa: S603 - the options are ours
                command,
                check=True,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_RELOAD_SECONDS,
            )
        except FileNotFoundError as exc:
            raise TrafficError(
                f"there is no program {self._program}; install nginx, or name it with "
                "--nginx-program"
            ) from exc
        except (OSError, subprocess.SubprocessError) as exc:
            said = (getattr(exc, "stderr", None) or str(exc)).strip()
            raise TrafficError(f"`{' '.join(command)}` failed: {said}; nothing was moved") from exc


def _render(shares: dict[str, int]) -> str:
    return ", ".join(f"{percent} % to {where}" for where, percent in shares.items())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only nginx needs to know."""
    parser.add_argument(
        "--nginx-folder",
        type=Path,
        default=Path(".nginx"),
        metavar="DIR",
        help="of its configuration and log (default: %(default)s)",
    )
    parser.add_argument(
        "--nginx-program", default="nginx", metavar="PATH", help="default: the one on PATH"
    )


def build(arguments: argparse.Namespace) -> Traffic:
    """Return the nginx that the command line describes."""
    return _build(arguments)


def _build(arguments: argparse.Namespace) -> Nginx:
    upstreams = Upstreams(
        stable=arguments.stable,
        candidate=getattr(arguments, "candidate", None),
        baseline=getattr(arguments, "baseline", None),
        recorder=getattr(arguments, "recorder", None),
    )
    return Nginx(arguments.nginx_folder, upstreams, program=arguments.nginx_program)


def _add_site_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is kept in the folder; an option that is left out is as it was kept."""
    for name, field in Site.model_fields.items():
        parser.add_argument(
            f"--nginx-{name.replace('_', '-')}",
            dest=name,
            type=type(field.default),
            default=argparse.SUPPRESS,
            help=f"{field.description} (default: as the folder has it, or {field.default})",
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Become the nginx that ``argv`` describes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stable", required=True, metavar="URL", help="of the stable version")
    add_arguments(parser)
    _add_site_arguments(parser)
    arguments = parser.parse_args(argv)
    nginx = _build(arguments)
    try:
        nginx.prepare(Site(**{k: v for k, v in vars(arguments).items() if k in Site.model_fields}))
        program, *options = nginx.command()
        os.execvp(program, [program, *options])  # noqa: S606 - that is its purpose
    except TrafficError as exc:
        said = str(exc)
    except OSError as exc:
        said = f"{arguments.nginx_program} cannot be run: {exc.strerror}; install nginx"
    print(f"error: {said}", file=sys.stderr)  # noqa: T201 - there is no log yet
    return TrafficError.exit_code


if __name__ == "__main__":
    sys.exit(main())
