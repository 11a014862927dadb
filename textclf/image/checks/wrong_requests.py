"""Requests that the contract refuses, by the status that each gets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from textclf.schema import MAX_TEXT_CHARACTERS, MAX_TEXTS

MARKER = "MARKER-THAT-NO-ANSWER-REPEATS"
BODY_LIMIT_BYTES = 1 << 20
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class WrongRequest:
    """One request; ``faults`` are the pointers that an answer of 422 has to name."""

    name: str
    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: dict(_JSON))
    faults: tuple[str, ...] = ()
    answer_headers: Mapping[str, str] = field(default_factory=dict)


def _malformed() -> list[WrongRequest]:
    bodies = {
        "no JSON": b"{",
        "an empty body": b"",
        "one quote only": f'["{MARKER}'.encode(),
        "bad UTF-8": b'["' + MARKER.encode() + b'\xff"]',
        "a lone surrogate": b'["\\ud800"]',
        "nesting 100,000 deep": b"[" * 100_000,
        "NaN": b"[NaN]",
        "two values": b'["a"] ["b"]',
        "a byte order mark": b'\xef\xbb\xbf["a"]',
    }
    return [
        WrongRequest(name, "POST", path, body)
        for path in ("/predict", "/classify")
        for name, body in bodies.items()
    ]


def _invalid() -> list[WrongRequest]:
    too_long = MARKER + "x" * MAX_TEXT_CHARACTERS
    predict: dict[str, tuple[object, tuple[str, ...]]] = {
        "a text for an array": (MARKER, ("",)),
        "an object": ({"texts": [MARKER]}, ("",)),
        "no text": ([], ("",)),
        "two texts": ([MARKER, MARKER], ("",)),
        "a number for a text": ([1], ("/0",)),
        "a boolean for a text": ([False], ("/0",)),
        "null for a text": ([None], ("/0",)),
        "an empty text": ([""], ("/0",)),
        "a blank text": ([" \t\n\u2003 "], ("/0",)),
        "control characters only": (["\x07\x00"], ("/0",)),
        "a text that is too long": ([too_long], ("/0",)),
    }
    classify: dict[str, tuple[object, tuple[str, ...]]] = {
        "a bare array": ([MARKER], ("",)),
        "no texts": ({}, ("/texts",)),
        "an empty array": ({"texts": []}, ("/texts",)),
        "65 texts": ({"texts": [MARKER] * (MAX_TEXTS + 1)}, ("/texts",)),
        "a text for texts": ({"texts": MARKER}, ("/texts",)),
        "an unknown member": ({"texts": ["a"], MARKER: MARKER}, ("",)),
        "several faults": (
            {"texts": ["a", 1, "", too_long]},
            ("/texts/1", "/texts/2", "/texts/3"),
        ),
        "a thousand faults": ({f"{MARKER}{i}": i for i in range(1000)}, ("",)),
    }
    return [
        WrongRequest(name, "POST", path, json.dumps(body).encode(), faults=faults)
        for path, bodies in (("/predict", predict), ("/classify", classify))
        for name, (body, faults) in bodies.items()
    ]


def _of_other_types() -> list[WrongRequest]:
    form = {
        "a form": ("application/x-www-form-urlencoded", f"text={MARKER}".encode()),
        "a multipart form": ("multipart/form-data; boundary=x", b"--x--"),
        "JSON called text": ("text/plain", b'["good"]'),
        "JSON called a problem": ("application/problem+json", b'["good"]'),
        "a pickle": ("application/vnd.bentoml+pickle", b"\x80\x04."),
    }
    typed = [
        WrongRequest(name, "POST", path, body, {"Content-Type": media_type})
        for path in ("/predict", "/classify")
        for name, (media_type, body) in form.items()
    ]
    return [*typed, WrongRequest("no type and no JSON", "POST", "/predict", b"good", {})]


def _by_wrong_methods() -> list[WrongRequest]:
    return [
        WrongRequest(f"{method} {path}", method, path, answer_headers={"allow": allow})
        for method, path, allow in (
            ("GET", "/predict", "POST"),
            ("PUT", "/classify", "POST"),
            ("DELETE", "/predict", "POST"),
            ("OPTIONS", "/predict", "POST"),
            ("POST", "/readyz", "GET, HEAD"),
            ("DELETE", "/metrics", "GET, HEAD"),
        )
    ]


def _of_unknown_paths() -> list[WrongRequest]:
    paths = (
        f"/{MARKER}", "/predict/", "/PREDICT", "/static_content/nope.js",
        "/static_content/..%2f..%2fx", "/docs", "/v1/predict",
    )  # fmt: skip
    return [WrongRequest(f"GET {path}", "GET", path) for path in paths]


def _too_large() -> list[WrongRequest]:
    body = MARKER.encode().ljust(BODY_LIMIT_BYTES + 1)
    return [WrongRequest("1 MiB and a byte", "POST", path, body) for path in ("/predict",)]


REFUSED: Mapping[int, list[WrongRequest]] = {
    400: _malformed(),
    404: _of_unknown_paths(),
    405: _by_wrong_methods(),
    413: _too_large(),
    415: _of_other_types(),
    422: _invalid(),
}
