"""Where a rollout stands, on disk: written before every move and after it.

::

    FOLDER/state.json    the state, replaced as a whole
    FOLDER/looks.jsonl   what every look saw and led to
    FOLDER/request.json  what a person asked of the controller that runs
    FOLDER/lock          held by the controller that runs
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from textclf.errors import RolloutBusyError, RolloutStateError
from textclf.rollout.decision import Action
from textclf.rollout.finding import Finding
from textclf.rollout.observation import Observation
from textclf.rollout.plan import Plan
from textclf.rollout.traffic.traffic import Weights

Outcome = Literal["promoted", "passed", "rolled back"]
Command = Literal["abort", "promote"]
Decider = Literal["evidence", "operator"]
_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True)
_Model = TypeVar("_Model", bound=BaseModel)


class Version(BaseModel):
    """One version that takes part.

    Attributes:
        url: Where it answers.
        model: Store tag that it says it serves; empty where it did not say.
        digest: Of its image; empty where nobody said.
    """

    model_config = _STRICT

    url: str
    model: str = ""
    digest: str = ""


class Intent(BaseModel):
    """A move that has begun, and what it leads to."""

    model_config = _STRICT

    weights: Weights
    position: int
    outcome: Outcome | None = None
    reason: str
    by: Decider = "evidence"


class Move(BaseModel):
    """A move that was made."""

    model_config = _STRICT

    at: float
    weights: Weights
    reason: str


class Tally(BaseModel):
    """What one version answered at the present weights.

    Attributes:
        last: What it counted when it was last read.
        total: What came since the weights were moved.
    """

    model_config = _STRICT

    last: Observation
    total: Observation


class State(BaseModel):
    """Where a rollout stands.

    Attributes:
        rollout: Names it: the time it began.
        traffic: The engine's name.
        versions: By part: stable, candidate, baseline.
        records_pairs: Whether both answers to mirrored requests are seen.
        position: Of the stage that it is at.
        weights: That hold, unless a move has begun.
        intent: The move that has begun.
        entered_at: When the weights were moved; seconds since 1970, like every time here.
        unread_since: When evidence could last not be read; None if it can.
        tallies: What each version answered at these weights.
        unready_looks: At so many looks in a row the candidate was not ready.
        exposed_requests: That the candidate answered for clients, up to these weights.
        outcome: None until it has ended.
        reason: Why it is where it is, in one line.
        by: Who decided that it ended.
    """

    model_config = _STRICT

    schema_version: Literal[1] = 1
    rollout: str
    plan: Plan
    traffic: str
    versions: dict[str, Version]
    records_pairs: bool
    started_at: float
    position: int = 0
    weights: Weights = Weights()
    intent: Intent | None = None
    entered_at: float
    unread_since: float | None = None
    tallies: dict[str, Tally] = {}
    unready_looks: int = 0
    exposed_requests: int = 0
    moves: tuple[Move, ...] = ()
    outcome: Outcome | None = None
    reason: str = ""
    by: Decider = "evidence"
    ended_at: float | None = None


class Look(BaseModel):
    """What one look saw, and what it led to."""

    model_config = _STRICT

    at: float
    stage: str
    weights: Weights
    findings: tuple[Finding, ...]
    action: Action
    reason: str


class Request(BaseModel):
    """What a person asked of the controller that runs."""

    model_config = _STRICT

    command: Command


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
        self._write(self._state, state)

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

    def ask(self, command: Command) -> None:
        """Leave word for the controller that runs.

        Raises:
            RolloutStateError: It cannot be written.
        """
        self._write(self._request, Request(command=command))

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

    def set_aside(self, state: State) -> Path:
        """Move everything of a rollout that has ended into a folder of its own, and return it.

        Raises:
            RolloutStateError: It cannot be moved.
        """
        target = self.folder / "ended" / state.rollout
        try:
            target.mkdir(parents=True, exist_ok=True)
            # The state goes last: as long as it is there, this is done again.
            for path in sorted(self.folder.iterdir(), key=lambda path: path == self._state):
                if path.is_file() and path.name != "lock":
                    path.replace(target / path.name)
        except OSError as exc:
            raise RolloutStateError(f"{self.folder} cannot be cleared: {exc}") from exc
        return target

    def _read(self, path: Path, kind: type[_Model]) -> _Model | None:
        try:
            return kind.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as exc:
            raise RolloutStateError(
                f"{path} cannot be read: {exc}; see where traffic goes and run `rollout.py abort`"
            ) from exc

    def _write(self, path: Path, content: BaseModel) -> None:
        part = path.with_suffix(".part")
        try:
            with part.open("wb") as file:
                file.write(content.model_dump_json(indent=2).encode() + b"\n")
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
