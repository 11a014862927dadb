"""The folder that an nginx runs from.

::

    FOLDER/site.json            what of the configuration no rollout changes
    FOLDER/nginx.conf           the configuration
    FOLDER/nginx.conf.next      one that is being tested
    FOLDER/nginx.conf.previous  the one before
    FOLDER/access.log           a line a request, beside nginx's own error.log and nginx.pid
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from textclf.errors import TrafficError
from textclf.rollout.traffic.nginx_config import Site

CONFIG = "nginx.conf"
NEXT = "nginx.conf.next"
# Time, id, version, the address of each that was asked, and what came of it: 502 and 504 are words
# of nginx's own for no answer, while a version counts a 503 itself.
_PASSED_OVER = re.compile(rb"\S+ \S+ (stable|candidate|baseline) [^ ,]+(?:, [^ ,]+)+ 50[24], ")


class Folder:
    """Its files; whatever the file system refuses is a TrafficError that names the file.

    Attributes:
        path: Of it, absolute.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._config = self.path / CONFIG
        self._next = self.path / NEXT
        self._previous = self.path / "nginx.conf.previous"
        self._site = self.path / "site.json"
        self._log = self.path / "access.log"
        self._log_offset = 0
        self._passed_over: Counter[str] = Counter()

    def lay(self) -> bool:
        """Make the folder if there is none, and return whether it has a configuration."""
        with _naming(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            return self._config.exists()

    def read_site(self) -> Site:
        """Return what of the configuration stays, as ``write_site`` kept it."""
        try:
            return Site.model_validate_json(self._site.read_bytes())
        except ValidationError as exc:
            fault = exc.errors(include_url=False)[0]
            raise TrafficError(
                f"{self._site}: {'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}; "
                "put back what it was, or start nginx in an empty folder"
            ) from exc
        except FileNotFoundError as exc:
            raise TrafficError(
                f"{self._site} is missing; name the folder of the nginx that runs with "
                "--nginx-folder, or start one in an empty folder: it writes the file"
            ) from exc
        except OSError as exc:
            raise _refused(self._site, exc) from exc

    def write_site(self, site: Site) -> None:
        """Keep it."""
        beside = self._site.with_suffix(".json.next")
        _write(beside, site.model_dump_json(indent=2).encode())
        with _naming(self._site):
            beside.replace(self._site)

    def holds(self, text: str) -> bool:
        """Say whether this is the configuration."""
        with _naming(self._config):
            return self._config.read_bytes() == text.encode()

    def write_next(self, text: str) -> None:
        """Lay a configuration beside the one that there is."""
        _write(self._next, text.encode())

    def drop_next(self) -> None:
        """Take it away again."""
        with _naming(self._next):
            self._next.unlink(missing_ok=True)

    def take_next(self) -> None:
        """Make it the configuration; one that there was is the previous one."""
        with _naming(self._config):
            before = self._config.read_bytes() if self._config.exists() else None
        if before is not None:
            _write(self._previous, before)
        with _naming(self._config):
            self._next.replace(self._config)

    def take_previous(self) -> None:
        """Make the previous configuration the present one again."""
        with _naming(self._config):
            self._previous.replace(self._config)

    def count_passed_over(self) -> Counter[str]:
        """Return how many requests in the log were passed on from each version that they were for.

        Only what was logged since the last call is read. A log that was cut short is read anew,
        and adds to what was counted.
        """
        with _naming(self._log), self._log.open("rb") as log:
            if os.fstat(log.fileno()).st_size < self._log_offset:
                self._log_offset = 0
            log.seek(self._log_offset)
            for line in log:
                if not line.endswith(b"\n"):
                    break  # nginx is still writing it
                self._log_offset += len(line)
                if b", " in line and (found := _PASSED_OVER.match(line)):
                    self._passed_over[found[1].decode()] += 1
        return self._passed_over.copy()

    def error_log_end(self) -> str:
        """Return the last line of nginx's own log, or why there is none."""
        try:
            lines = (self.path / "error.log").read_text("utf-8", "replace").splitlines()
        except OSError as exc:
            return str(exc)
        return lines[-1] if lines else "nothing"


def _write(path: Path, content: bytes) -> None:
    try:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # a crash must not leave half of it under the real name
    except OSError as exc:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise _refused(path, exc) from exc


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise _refused(path, exc) from exc


def _refused(path: Path, exc: OSError) -> TrafficError:
    return TrafficError(
        f"{path}: {exc.strerror or exc}; see that the disk has room and that the folder is that of "
        "the nginx that runs, which --nginx-folder names, and retry"
    )
