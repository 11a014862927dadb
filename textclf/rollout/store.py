"""The folder of a rollout: its state, its looks, and who has it.

::

    FOLDER/state.json     the state, replaced as a whole
    FOLDER/looks.jsonl    what every look saw and led to
    FOLDER/noise.jsonl    pairs of answers of the stable version with itself
    FOLDER/shadow.jsonl   pairs of answers of both versions
    FOLDER/request.json   what a person asked of the controller that runs
    FOLDER/verdict.json   the record of how it ended, and report.html for people
    FOLDER/lock           held by the controller that runs
    FOLDER/ended/ROLLOUT  all but the lock, of a rollout before
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from textclf.errors import RolloutBusyError, RolloutStateError
from textclf.rollout.state import Command, Look, Request, State

# The state is last: as long as it is there, an interrupted setting aside is done again.
_RECORDS = (
    *("looks.jsonl", "noise.jsonl", "shadow.jsonl", "request.json"),
    *("verdict.json", "report.html", "state.json"),
)

_Model = TypeVar("_Model", bound=BaseModel)


class Store:
    """The folder of one rollout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._state = folder / "state.json"
        self._looks = folder / "looks.jsonl"
        self._request = folder / "request.json"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep every other controller out; a killed one holds nothing.

        Raises:
            RolloutBusyError: Another one has it.
            RolloutStateError: The folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / "lock").open("a+", encoding="utf-8")
        except OSError as exc:
            raise RolloutStateError(
                f"{self.folder} cannot be written: {exc}; name another folder with --state"
            ) from exc
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                lock.seek(0)
                raise RolloutBusyError(
                    f"{self.folder} belongs to the controller with process id "
                    f"{lock.read().strip() or 'unknown'}; see `rollout.py status`, or end that "
                    "process first"
                ) from exc
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            yield

    def is_locked(self) -> bool:
        """Say whether a controller has the rollout."""
        try:
            with (self.folder / "lock").open(encoding="utf-8") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def load(self) -> State | None:
        """Return the state; None if no rollout began here.

        Raises:
            RolloutStateError: It cannot be read.
        """
        return self._read(self._state, State)

    def save(self, state: State) -> None:
        """Replace the state as a whole; when this returns it survives a power cut.

        Raises:
            RolloutStateError: It cannot be written; the one before is still there.
        """
        self._write(self._state, _encode(state))

    def add_look(self, look: Look) -> None:
        """Append to the log of looks.

        Raises:
            RolloutStateError: It cannot be written.
        """
        line = look.model_dump_json().encode() + b"\n"
        try:
            with self._looks.open("ab+") as file:
                # A controller that was killed while it wrote leaves half a line.
                if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
                    line = b"\n" + line
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as exc:
            raise RolloutStateError(f"{self._looks} cannot be written: {exc}") from exc

    def looks(self) -> tuple[Look, ...]:
        """Return the log of looks; a line that was cut short is left out.

        Raises:
            RolloutStateError: It cannot be read.
        """
        try:
            lines = self._looks.read_bytes().splitlines() if self._looks.exists() else []
        except OSError as exc:
            raise RolloutStateError(f"{self._looks} cannot be read: {exc}") from exc
        looks = []
        for line in lines:
            try:
                looks.append(Look.model_validate_json(line))
            except ValidationError:
                continue
        return tuple(looks)

    def is_unended(self) -> bool:
        """Say whether a rollout is under way, with or without a controller.

        Raises:
            RolloutStateError: Its state cannot be read.
        """
        state = self.load()
        return state is not None and not state.has_ended

    def write(self, name: str, content: str) -> None:
        """Replace a record as a whole.

        Raises:
            RolloutStateError: It cannot be written.
        """
        self._write(self.folder / name, content.encode())

    def ask(self, command: Command) -> None:
        """Leave word for the controller that runs.

        Raises:
            RolloutStateError: It cannot be written.
        """
        self._write(self._request, _encode(Request(command=command)))

    def asked(self) -> Command | None:
        """Return what a person asked for, if anybody did.

        Raises:
            RolloutStateError: It cannot be read.
        """
        request = self._read(self._request, Request)
        return request.command if request else None

    def forget_request(self) -> None:
        """Take what was asked for as done."""
        self._request.unlink(missing_ok=True)

    def set_aside(self, name: str) -> Path | None:
        """Move everything of a rollout into a folder of this name, and return it; None for nothing.

        Raises:
            RolloutStateError: It cannot be moved.
        """
        target = self.folder / "ended" / name
        try:
            paths = [path for record in _RECORDS if (path := self.folder / record).exists()]
            if not paths:
                return None
            target.mkdir(parents=True, exist_ok=True)
            for path in paths:
                path.replace(target / path.name)
        except OSError as exc:
            raise RolloutStateError(f"{self.folder} cannot be cleared: {exc}") from exc
        return target

    def _read(self, path: Path, kind: type[_Model]) -> _Model | None:
        try:
            return kind.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as exc:
            first = exc.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise RolloutStateError(
                f"{path} cannot be read: {place}: {first['msg']}; remove it, and have "
                "`rollout.py abort --traffic ...` move traffic back"
            ) from exc
        except OSError as exc:
            raise RolloutStateError(f"{path} cannot be read: {exc}") from exc

    def _write(self, path: Path, content: bytes) -> None:
        part = path.with_suffix(".part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
            # The new name too has to survive a power cut.
            folder = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as exc:
            raise RolloutStateError(f"{path} cannot be written: {exc}") from exc


def _encode(record: BaseModel) -> bytes:
    return record.model_dump_json(indent=2).encode() + b"\n"
