"""Clients of several kinds that ask all the while, and a record of what came of each request."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, Self

from tests.soak.answers import KnownAnswers
from tests.soak.asking import Asked, Question, Questions, Verdict, judge
from tests.soak.wire import Answer, Connection, LostError

Kind = Literal["good", "pipelined", "bad", "probe", "hostile"]
ALL_KINDS: tuple[Kind, ...] = ("good", "good", "good", "pipelined", "bad", "probe", "hostile")
_PAUSE_SECONDS = {"good": 0.03, "pipelined": 0.08, "bad": 0.05, "probe": 0.3, "hostile": 0.5}
_FRESH = 0.1  # of the requests come on a connection of their own
_AFTER_LOSS_SECONDS = 0.05


class Outcome(NamedTuple):
    """What came of one request; moments are of one monotonic clock.

    Attributes:
        retried: Sent again, since the connection that it was to share was closed just then.
    """

    began: float
    ended: float
    kind: str
    verdict: Verdict
    detail: str = ""
    retried: bool = False


class _Line:
    """A connection that is kept, and made again when it is gone.

    Attributes:
        reused: The last exchange was not the first on its connection.
    """

    def __init__(self, port: int) -> None:
        self.reused = False
        self._port = port
        self._connection: Connection | None = None

    def exchange(self, asked: Sequence[Asked], *, fresh: bool) -> Iterator[tuple[Asked, Answer]]:
        """Send requests in one go and return the answers, up to one after which there is no other.

        Raises:
            LostError: An answer did not come; the connection is closed.
        """
        self.reused = False
        if fresh:
            self.close()
        try:
            connection = self._connection = self._connection or Connection(self._port)
            self.reused = connection.answers > 0
            connection.send(b"".join(one.data for one in asked))
            for one in asked:
                answer = connection.answer(to_head=one.head)
                closes = answer.closes or one.last
                if closes:
                    self.close()
                yield one, answer
                if closes:
                    return
        except LostError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None


class Traffic:
    """Clients of a service that ask while the block lasts.

    Attributes:
        outcomes: In the order of their end.
    """

    def __init__(
        self,
        port: int,
        answers: KnownAnswers,
        *,
        kinds: Sequence[Kind] = ALL_KINDS,
        seed: int = 0,
    ) -> None:
        """Describe them; each entry of ``kinds`` is a client."""
        self.port = port
        self.answers = answers
        self.outcomes: list[Outcome] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._run, args=(kind, seed * 1000 + number), name=f"{kind}-{number}"
            )
            for number, kind in enumerate(kinds)
        ]

    def __enter__(self) -> Self:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End; every request that was sent is waited for."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def ask(self, kind: str, *asked: Asked) -> list[Outcome]:
        """Send requests together on a connection of their own and record what came of each."""
        found = self._ask(_Line(self.port), kind, asked, fresh=True)
        self.outcomes.extend(found)
        return found

    def _run(self, kind: Kind, seed: int) -> None:
        draw = random.Random(seed)  # noqa: S311 - an order
        questions = Questions(self.answers, draw)
        makers: dict[Kind, Question] = {
            "good": questions.good,
            "pipelined": questions.good,
            "bad": questions.bad,
            "probe": questions.probe,
            "hostile": questions.hostile,
        }
        line = _Line(self.port)
        while not self._stop.is_set():
            several = draw.randint(2, 6) if kind == "pipelined" else 1
            asked = [makers[kind]() for _ in range(several)]
            fresh = kind == "hostile" or draw.random() < _FRESH
            found = self._ask(line, kind, asked, fresh=fresh)
            self.outcomes.extend(found)
            lost = found[-1].verdict == "lost"
            pause = _AFTER_LOSS_SECONDS if lost else 0.0
            self._stop.wait(pause + _PAUSE_SECONDS[kind] * 2 * draw.random())
        line.close()

    def _ask(self, line: _Line, kind: str, asked: Sequence[Asked], *, fresh: bool) -> list[Outcome]:
        """Send requests on one connection and judge their answers.

        A server may close an idle connection just when a request is sent on it: then a client
        sends it again, once, as RFC 9112 has it (section 9.3.1).
        """
        found: list[Outcome] = []
        retried = False
        began = time.monotonic()
        while left := asked[len(found) :]:
            before = len(found)
            try:
                for one, answer in line.exchange(left, fresh=fresh):
                    verdict, detail = judge(one, answer, self.answers.model)
                    found.append(Outcome(began, time.monotonic(), kind, verdict, detail, retried))
            except LostError as exc:
                if line.reused and len(found) == before and not exc.begun and not retried:
                    retried = fresh = True
                    continue
                detail = f"{left[0].route}: {exc}"
                lost = Outcome(began, time.monotonic(), kind, "lost", detail, retried)
                found += [lost] * (len(asked) - len(found))
        return found
