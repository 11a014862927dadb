"""What is asked, and how its answer is judged."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tests.soak.answers import Known, KnownAnswers, find_fault
from tests.soak.wire import Answer
from textclf.image.checks.wrong_requests import REFUSED, WrongRequest

# right: what had to come. refused: an honest refusal of the contract, where something else was
# asked for. wrong: an answer, but another one. dishonest: a 5xx that is no refusal. odd: neither.
# lost: no whole answer.
Verdict = Literal["right", "refused", "wrong", "dishonest", "odd", "lost"]
VERDICTS: tuple[Verdict, ...] = ("right", "refused", "wrong", "dishonest", "odd", "lost")
MEDIA_TYPE = "application/problem+json"
_TEN_MB = 10_000_000
_HONEST = {429, 503, 504}
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Asked:
    """A request and what has to come of it.

    Attributes:
        data: What is sent.
        route: Its path.
        statuses: That are right.
        known: The texts of a good one.
        head: Its answer has no body.
        last: No other request can follow on its connection.
    """

    data: bytes
    route: str
    statuses: frozenset[int]
    known: Sequence[Known] = ()
    head: bool = False
    last: bool = False


def judge(asked: Asked, answer: Answer, model: str) -> tuple[Verdict, str]:
    """Judge an answer, with a reason unless it is right."""
    status = answer.status
    if status in asked.statuses:
        if status == 200 and asked.known:
            fault = find_fault(answer.content(), asked.known, route=asked.route, model=model)
            return ("wrong", f"{asked.route}: {fault}") if fault else ("right", "")
        if status < 400:
            return "right", ""
        fault = find_flaw(answer, head=asked.head)
        return ("odd", f"{status} {asked.route}: {fault}") if fault else ("right", "")
    if status == 200:
        return "wrong", f"200 for what has to be refused with {sorted(asked.statuses)}"
    if status in _HONEST and not find_flaw(answer, head=asked.head):
        return "refused", f"{status} {asked.route}"
    detail = f"{status} {asked.route}: {answer.body[:200]!r}"
    return ("dishonest" if status >= 500 else "odd"), detail


def find_flaw(answer: Answer, *, head: bool = False) -> str:
    """Say why an answer of 400 and above is no honest problem; empty if it is one."""
    if answer.headers.get("content-type") != MEDIA_TYPE:
        return f"it is {answer.headers.get('content-type')}"
    if answer.status in {429, 503} and not answer.headers.get("retry-after", "").isdecimal():
        return "it does not say when to try again"
    problem = answer.content()
    if head or not isinstance(problem, dict):
        return "" if head else "its body is no JSON object"
    right = {"status": answer.status, "request_id": answer.headers.get("x-request-id")}
    wrong = [name for name, value in right.items() if problem.get(name) != value]
    wrong += [name for name in ("type", "title", "detail") if not problem.get(name)]
    return f"wrong in it: {', '.join(wrong)}" if wrong else ""


@dataclass
class Questions:
    """Makes requests of each kind, at random."""

    answers: KnownAnswers
    draw: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311 - an order

    def good(self) -> Asked:
        """Return one that gets predictions."""
        if self.draw.random() < 0.5:
            known = [self.draw.choice(self.answers.short)]
            return self._ask("/predict", [known[0].text], known)
        several = self.draw.choice((1, 2, 3, 5, 8, 16))
        known = self.draw.choices(self.answers.short, k=several)
        if self.draw.random() < 0.02:
            known[0] = self.draw.choice(self.answers.long)
        return self._ask("/classify", {"texts": [one.text for one in known]}, known)

    def slow(self, texts: int = 64) -> Asked:
        """Return one that takes long."""
        known = self.draw.choices(self.answers.long, k=texts)
        return self._ask("/classify", {"texts": [one.text for one in known]}, known)

    def bad(self) -> Asked:
        """Return one of the contract's table of refusals."""
        status = self.draw.choice([status for status in REFUSED if status != 413])
        wrong = self.draw.choice(REFUSED[status])
        return Asked(_encode_wrong(wrong), wrong.path, frozenset({status}))

    def probe(self) -> Asked:
        """Return one that asks how the service is, or for its documents."""
        path = self.draw.choice(("/livez", "/readyz", "/metrics", "/docs.json", "/"))
        method = self.draw.choice(("GET", "GET", "HEAD"))
        return Asked(encode(method, path, b"", {}), path, frozenset({200}), head=method == "HEAD")

    def hostile(self) -> Asked:
        """Return one of those that mean harm."""
        return self.draw.choice((self.poisoned, self.oversized, self.garbage))()

    def poisoned(self) -> Asked:
        """Return JSON that breaks parsers: NaN, a lone surrogate, 10,000 brackets and others."""
        deep = 10_000
        bodies: tuple[tuple[bytes, int], ...] = (
            (b"[NaN]", 400),
            (b'{"texts": [Infinity, -Infinity, NaN]}', 400),
            (b'["\\ud800"]', 400),
            (b'{"texts": ["\\udfff\\ud800"]}', 400),
            (b"[" * deep, 400),
            (b"[" * deep + b"]" * deep, 400),
            (b'{"texts":' * deep + b"1" + b"}" * deep, 400),
            (b'["\xed\xa0\x80"]', 400),
            (b'["\xff\xfe"]', 400),
            (b'{"texts": [' + b"1e999," * 50 + b"1]}", 400),
            (b"[" + b"9" * 5000 + b"]", 422),
            (b"[" + b"0," * 100_000 + b"0]", 422),
            (b'{"texts": ["' + b"\\u0000" * 2000 + b'"]}', 422),
        )
        body, status = self.draw.choice(bodies)
        either = {
            status,
            400,
            422,
        }  # what no float holds is no JSON to one parser, 1e999 to another
        path = "/classify" if body.startswith(b"{") else "/predict"
        statuses = frozenset(either if b"9" in body else {status})
        return Asked(encode("POST", path, body, _JSON), path, statuses)

    def oversized(self) -> Asked:
        """Return a body of 10 MB, whose length is declared or found only by reading."""
        path = self.draw.choice(("/predict", "/classify"))
        body = b'["' + b"x" * _TEN_MB + b'"]'
        if self.draw.random() < 0.5:
            return Asked(encode("POST", path, body, _JSON), path, frozenset({413}))
        return Asked(encode_chunked(path, body), path, frozenset({413}))

    def garbage(self) -> Asked:
        """Return bytes that are no HTTP."""
        data = self.draw.choice((
            b"\x16\x03\x01\x02\x00\x01\xfc\x03\x03" + self.draw.randbytes(200) + b"\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"POST /predict HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b'POST /predict HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n["a"]',
            b"GET " + b"/" * 70_000 + b" HTTP/1.1\r\n\r\n",
            b"\x00" * 1000 + b"\r\n\r\n",
        ))  # fmt: skip
        return Asked(data, "garbage", frozenset({400, 404, 414, 431, 501, 505}), last=True)

    @staticmethod
    def _ask(path: str, content: object, known: Sequence[Known]) -> Asked:
        body = json.dumps(content).encode()
        return Asked(encode("POST", path, body, _JSON), path, frozenset({200}), known)


Question = Callable[[], Asked]


def encode(method: str, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return a request as bytes."""
    fields = {"Host": "soak.test", **headers}
    if body or method in {"POST", "PUT"}:
        fields["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


def encode_chunked(path: str, body: bytes, *, chunk_bytes: int = 16_384) -> bytes:
    """Return a request whose length is told only chunk by chunk."""
    head = encode("GET", path, b"", _JSON | {"Transfer-Encoding": "chunked"})
    starts = range(0, len(body), chunk_bytes)
    chunks = (body[start : start + chunk_bytes] for start in starts)
    framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head.replace(b"GET", b"POST", 1) + framed + b"0\r\n\r\n"


def _encode_wrong(wrong: WrongRequest) -> bytes:
    return encode(wrong.method, wrong.path, wrong.body, wrong.headers)
