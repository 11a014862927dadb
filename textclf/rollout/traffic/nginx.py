"""nginx, on one machine: a configuration that is rendered, tested and reloaded.

``python -m textclf.rollout.traffic.nginx`` runs an nginx that rollouts can move: in the foreground,
with everything that it writes in a folder of its own, all traffic on the stable version at first.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textclf.errors import TrafficError
from textclf.rollout.traffic.nginx_config import Site, address, render_config
from textclf.rollout.traffic.traffic import Traffic, Weights

_MODULE = "textclf.rollout.traffic.nginx"
_CONFIG = "nginx.conf"
_NEXT = "nginx.conf.next"
_PREVIOUS = "nginx.conf.previous"
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

    def __init__(self, folder: Path, site: Site, *, program: str = "nginx") -> None:
        """Describe it; nothing is started or asked yet.

        Args:
            folder: Holds its configuration, its log and the number of its first process.
            site: What of its configuration stays.
            program: Name or path.
        """
        self.has_baseline = site.baseline is not None
        self.mirrors = site.recorder is not None
        self._folder = folder.resolve()
        self._site = site
        self._program = program

    def read(self) -> Weights:
        """Return how the running nginx shares requests out.

        Raises:
            TrafficError: It does not answer, or sends requests to a version that is not named.
        """
        status = self._ask()
        shares = dict(status["shares"])
        candidate = shares.pop(self._address(self._site.candidate), 0)
        baseline = shares.pop(self._address(self._site.baseline), 0)
        shares.pop(address(self._site.stable, "stable"), 0)
        if shares:
            raise TrafficError(
                f"nginx in {self._folder} sends {_render(shares)}, which is no version of this "
                "rollout; name the versions that it serves, or move its traffic to them first"
            )
        return Weights(
            candidate_percent=candidate,
            baseline_percent=baseline,
            mirror_percent=status["mirror_percent"],
        )

    def move(self, weights: Weights) -> None:
        """Share requests out; returns when every worker does.

        Raises:
            TrafficError: nginx refuses the configuration or does not take it; the one before is
                in force again.
        """
        text, generation = render_config(self._site, weights)
        config = self._folder / _CONFIG
        if self._ask()["generation"] == generation and config.read_text("utf-8") == text:
            return
        self._test(text)
        previous = self._folder / _PREVIOUS
        shutil.copyfile(config, previous)
        (self._folder / _NEXT).replace(config)
        try:
            self._reload(generation)
        except TrafficError:
            previous.replace(config)
            with contextlib.suppress(TrafficError):
                self._signal()  # in case it is only slow
            raise

    def prepare(self) -> None:
        """Lay the folder of an nginx that is to be started: all traffic on the stable version.

        A configuration that is there stays, since a rollout may be under way.

        Raises:
            TrafficError: nginx refuses it, or is not installed.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / _CONFIG
        if not config.exists():
            self._test(render_config(self._site, Weights())[0])
            (self._folder / _NEXT).replace(config)

    def command(self) -> list[str]:
        """Return what runs it in the foreground."""
        error_log = str(self._folder / "error.log")
        return [self._program, "-p", str(self._folder), "-e", error_log, "-c", _CONFIG]

    def _address(self, url: str | None) -> str | None:
        return None if url is None else address(url, "version")

    def _ask(self) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._site.status_port, timeout=5)
        try:
            connection.request("GET", "/traffic")
            status = json.loads(connection.getresponse().read())
            status["generation"], status["mirror_percent"], status["shares"].items()
        except (OSError, http.client.HTTPException, ValueError, TypeError, LookupError) as exc:
            raise TrafficError(
                f"nginx in {self._folder} does not answer on 127.0.0.1:{self._site.status_port}: "
                f"{exc}; start it with `python -m {_MODULE}`, or name its --nginx-status-port"
            ) from exc
        else:
            return dict(status)
        finally:
            connection.close()

    def _test(self, text: str) -> None:
        path = self._folder / _NEXT
        with path.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # a crash must not leave half of it under the real name
        try:
            self._run("-t", "-q", config=_NEXT)
        except TrafficError:
            path.unlink()
            raise

    def _reload(self, generation: str) -> None:
        self._signal()
        deadline = time.monotonic() + _RELOAD_SECONDS
        answers, since = 0, 0.0
        while answers < _ANSWERS or time.monotonic() < since + _SETTLING_SECONDS:
            now = time.monotonic()
            if now > deadline:
                raise TrafficError(
                    f"nginx in {self._folder} was reloaded {_RELOAD_SECONDS:.0f} s ago and still "
                    f"answers from the configuration before; its error.log ends: {self._log_end()}"
                )
            if self._ask()["generation"] == generation:
                since = since if answers else now
                answers += 1
            else:
                answers = 0
            time.sleep(_PAUSE_SECONDS)

    def _signal(self) -> None:
        self._run("-s", "reload", config=_CONFIG)

    def _run(self, *options: str, config: str) -> None:
        command = [self._program, *options, "-p", str(self._folder), "-e", "stderr", "-c", config]
        try:
            subprocess.run(  # noqa: S603 - the options are ours
                command, check=True, capture_output=True, text=True, timeout=_RELOAD_SECONDS
            )
        except FileNotFoundError as exc:
            raise TrafficError(
                f"there is no program {self._program}; install nginx, or name it with "
                "--nginx-program"
            ) from exc
        except (OSError, subprocess.SubprocessError) as exc:
            said = (getattr(exc, "stderr", None) or str(exc)).strip()
            raise TrafficError(f"`{' '.join(command)}` failed: {said}; nothing was moved") from exc

    def _log_end(self) -> str:
        try:
            lines = (self._folder / "error.log").read_text("utf-8", "replace").splitlines()
        except OSError as exc:
            return str(exc)
        return lines[-1] if lines else "nothing"


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
        "--nginx-listen",
        default="127.0.0.1:8080",
        metavar="ADDRESS:PORT",
        help="that clients use (default: %(default)s)",
    )
    parser.add_argument(
        "--nginx-status-port",
        type=int,
        default=8081,
        metavar="PORT",
        help="of loopback, where it says how it shares requests out (default: %(default)s)",
    )
    parser.add_argument(
        "--nginx-timeout-seconds",
        type=int,
        default=Site.timeout_seconds,
        metavar="N",
        help="longest silence of a version, until another is asked (default: %(default)s)",
    )
    parser.add_argument(
        "--nginx-keepalive-seconds",
        type=int,
        default=Site.keepalive_seconds,
        metavar="N",
        help="that idle clients stay connected; a client must then send a request again that meets "
        "a reload (default: %(default)s, a connection a request)",
    )
    parser.add_argument(
        "--nginx-program", default="nginx", metavar="PATH", help="default: the one on PATH"
    )


def build(arguments: argparse.Namespace) -> Traffic:
    """Return the nginx that the command line describes."""
    return _build(arguments)


def _build(arguments: argparse.Namespace) -> Nginx:
    site = Site(
        listen=arguments.nginx_listen,
        status_port=arguments.nginx_status_port,
        stable=arguments.stable,
        candidate=getattr(arguments, "candidate", None),
        baseline=getattr(arguments, "baseline", None),
        recorder=getattr(arguments, "recorder", None),
        timeout_seconds=arguments.nginx_timeout_seconds,
        keepalive_seconds=arguments.nginx_keepalive_seconds,
    )
    return Nginx(arguments.nginx_folder, site, program=arguments.nginx_program)


def main(argv: Sequence[str] | None = None) -> int:
    """Become the nginx that ``argv`` describes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stable", required=True, metavar="URL", help="of the stable version")
    add_arguments(parser)
    nginx = _build(parser.parse_args(argv))
    try:
        nginx.prepare()
    except TrafficError as exc:
        print(f"error: {exc}", file=sys.stderr)  # noqa: T201 - there is no log yet
        return exc.exit_code
    program, *options = nginx.command()
    os.execvp(program, [program, *options])  # noqa: S606 - that is its purpose
    return 0


if __name__ == "__main__":
    sys.exit(main())
