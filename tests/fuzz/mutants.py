"""Requests that are wrong in ways nobody thought of: valid ones, mutated and oddly labelled."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from textclf.image.checks.wrong_requests import REFUSED

MARKER = "MARKER-THAT-NO-ANSWER-REPEATS"
ROUTES = ("/predict", "/classify", "/v2/models/{model}/infer")
PATHS = (
    "/", "/livez", "/readyz", "/healthz", "/metrics", "/docs.json", "/schema.json", "/ui",
    "/ui/model", "/ui/../predict", "/static_content/swagger-ui.css", "/static_content/nope", "/v2",
    "/v2/", "/v2/health/live", "/v2/health/ready", "/v2/models/{model}", "/v2/models/{model}/ready",
    "/v2/models/x/infer", "/v2/models/{model}/versions/1/infer", "/v2/models//infer", "",
    "/predict/", "//predict", "/predict%00", "/Ünïcode/\ufffd", "/" + "a" * 5000, "*",
)  # fmt: skip
METHODS = (
    "GET",
    "HEAD",
    "PUT",
    "DELETE",
    "PATCH",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "",
    "post",
    "X" * 99,
)
_TOKENS = (
    b"NaN", b"-Infinity", b"1e999", b"-0", b"\\ud800", b"\\udc00\\ud800", b"\\u0000", b"\x00",
    b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"[" * 300, b"]" * 300, b'{"a":' * 200, b'"', b"\\",
    b",", b":", b"{", b"}", b"null", b"true", b"9" * 400, b"\xe2\x80\xae", b"'", b"\r\n\r\n", b"/*",
    b'"texts"', b'"inputs"', b'"shape"', b"[1]", b"[-1]", b"[4611686018427387904]", b'"BYTES"',
    b" " * 3000, b"\xf4\x90\x80\x80", b"\\x", b"\x7f", b"binary_data_size", b"\x05\x00\x00\x00",
)  # fmt: skip
_TYPES = (
    b"application/json", b"application/json", b"application/json; charset=utf-8", b"text/plain",
    b"application/octet-stream", b"APPLICATION/JSON;", b"", b"\xff\xfe", b"multipart/form-data",
    b"application/vnd.bentoml+pickle", b"application/json, text/plain", b";", b"x" * 5000,
)  # fmt: skip
_ODD_VALUES = (
    b"", b"0", b"1", b"-1", b"10", b"8", b"4611686018427387904", b"1e3", b" 7 ", b"\xff\xff",
    b"\xc2\xb2", b"\xe2\x91\xa0", b"a" * 200, b"identity", b"gzip", b"chunked", b"Bearer x", b"NaN",
    b"100-continue", b"bytes=0-1", b"websocket", b"../..", b"\x00",
)  # fmt: skip
_FIELDS = (
    b"x-request-id", b"x-request-timeout-ms", b"content-length", b"content-encoding", b"expect",
    b"authorization", b"inference-header-content-length", b"accept", b"accept-encoding", b"range",
    b"connection", b"upgrade", b"transfer-encoding", b"traceparent", b"host", b"cookie", b"",
    b"content-type", b"x-\xff",
)  # fmt: skip


@dataclass
class Mutant:
    """A request as an ASGI server hands it over.

    Attributes:
        chunks: Of its body.
        leaves: The client goes before the last of them.
    """

    method: str
    path: str
    headers: list[tuple[bytes, bytes]]
    chunks: Sequence[bytes]
    leaves: bool = False
    body: bytes = field(init=False)

    def __post_init__(self) -> None:
        """Join the body."""
        self.body = b"".join(self.chunks)

    def has(self, name: bytes) -> bool:
        """Say whether it has a header field."""
        return any(name == one for one, _ in self.headers)


class Breeder:
    """Makes mutants of a value, for a model."""

    def __init__(self, model: str, value: Any, seed: int) -> None:
        """Take any JSON value, which its mutants have somewhere in them."""
        self._draw = random.Random(seed)  # noqa: S311 - an order
        self._model = model
        self._value = value
        self._others = [wrong.body for wrongs in REFUSED.values() for wrong in wrongs if wrong.body]

    def breed(self) -> Mutant:
        """Return one mutant."""
        draw = self._draw
        route = draw.choice(ROUTES)
        body, length = self._body(route), b""
        if route not in {"/predict", "/classify"} and draw.random() < 0.3:
            body, length = self._binary_body()
        for _ in range(draw.choice((0, 0, 1, 1, 2, 5))):
            body = self._mutate(body)
        path, method = route, "POST"
        if draw.random() < 0.15:
            path = draw.choice(PATHS)
            method = draw.choice(("POST", "GET", "HEAD"))
        if draw.random() < 0.04:
            method = draw.choice(METHODS)
        return Mutant(
            method,
            path.replace("{model}", self._model),
            self._headers(body, length),
            self._split(body),
            leaves=draw.random() < 0.02,
        )

    def _body(self, route: str) -> bytes:
        """Return a valid body, or one with the value in the place of a part."""
        draw, value = self._draw, self._value
        texts: Any = [f"text {n}" for n in range(draw.choice((1, 1, 2, 64, 65)))]
        if draw.random() < 0.6:
            texts[draw.randrange(len(texts))] = value
        kind = draw.random()
        if kind < 0.05:
            return json.dumps(value).encode("utf-8", "surrogatepass")
        if kind < 0.1:
            texts = value
        content: Any = {"texts": texts}
        if route == "/predict":
            content = texts[:1] if isinstance(texts, list) else texts
        elif route != "/classify":
            count = len(texts) if isinstance(texts, list) else 1
            tensor = {"name": "text", "shape": [count], "datatype": "BYTES", "data": texts}
            content = {"id": MARKER, "inputs": [tensor]}
        if draw.random() < 0.05 and isinstance(content, dict):
            content = {**content, f"{MARKER}{draw.random()}": value}
        return json.dumps(content, ensure_ascii=draw.random() < 0.5).encode(
            "utf-8", "surrogatepass"
        )

    def _binary_body(self) -> tuple[bytes, bytes]:
        """Return a body whose texts follow its JSON as bytes, and the length of that JSON."""
        draw = self._draw
        given = [str(self._value), "fine", "é", ""]
        texts = [text.encode("utf-8", "surrogatepass") for text in given][: draw.choice((1, 2, 4))]
        data = b"".join(len(text).to_bytes(4, "little") + text for text in texts)
        size = len(data) if draw.random() < 0.7 else draw.choice((0, -1, 3, 1 << 70, self._value))
        tensor = {
            "name": "text",
            "shape": [len(texts)],
            "datatype": "BYTES",
            "parameters": {"binary_data_size": size},
        }
        content = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
        head = json.dumps(content).encode()
        return head + data, str(len(head)).encode()

    def _mutate(self, body: bytes) -> bytes:
        """Put something else, or nothing, in the place of a few bytes, or of all that follow."""
        draw = self._draw
        at = draw.randint(0, len(body))
        to = min(len(body), at + draw.choice((0, 1, 1, 2, 8, 100)))
        other = draw.choice(self._others)
        instead = draw.choice((
            b"",
            draw.choice(_TOKENS),
            draw.choice(_TOKENS),
            draw.randbytes(to - at),
            body[at:to] * draw.choice((2, 3, 50)),
            other[draw.randrange(len(other)) :][:4096],
        ))  # fmt: skip
        return body[:at] + instead + (body[to:] if draw.random() < 0.85 else b"")

    def _headers(self, body: bytes, json_length: bytes) -> list[tuple[bytes, bytes]]:
        draw = self._draw
        headers = [(b"host", b"fuzz")]
        if draw.random() < 0.95:
            typed = draw.choice(_TYPES) if draw.random() < 0.1 else _TYPES[0]
            headers.append((b"content-type", typed))
        if draw.random() < 0.6:
            headers.append((b"content-length", str(len(body)).encode()))
        if json_length:
            headers.append((b"inference-header-content-length", json_length))
        odd = draw.choice((0, 0, 0, 0, 1, 3))
        headers += [(draw.choice(_FIELDS), draw.choice(_ODD_VALUES)) for _ in range(odd)]
        return headers

    def _split(self, body: bytes) -> list[bytes]:
        draw = self._draw
        cuts = sorted(draw.randint(0, len(body)) for _ in range(draw.choice((0, 0, 0, 1, 3, 9))))
        return [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
