"""The HTTP contract: paths, statuses, types and header fields."""

from __future__ import annotations

import hashlib
import json
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from textclf.errors import ContractCheckError
from textclf.image.checks.check import Flaw, check
from textclf.image.checks.subject import PORT, Service, Subject, patiently, read_json
from textclf.image.checks.wrong_requests import MARKER, REFUSED, WrongRequest
from textclf.schema import MAX_TEXTS
from textclf.settings import Settings

PROBLEM = "application/problem+json"
PATHS = ("/livez", "/readyz", "/healthz", "/metrics", "/docs.json", "/", "/v2/health/ready", "/ui")
LONG_TEXTS = {"texts": [f"{i} " + "a long text to read " * 100 for i in range(MAX_TEXTS)]}
_ROUNDS = 20
_KEY = "a key that only this check knows"
_UI = "TEXTCLF_UI"


@check(ContractCheckError)
def port(subject: Subject) -> None:
    """The service answers HTTP on port 3000, which the image exposes."""
    image = subject.image
    exposed = sorted(image.config.get("ExposedPorts") or {})
    if f"{PORT}/tcp" not in exposed:
        raise Flaw(f"the image exposes {', '.join(exposed) or 'no port'}, not {PORT}/tcp")
    if not image.start.answered:
        raise Flaw(f"nothing answers HTTP on port {PORT}: {image.start.reason}")


@check(ContractCheckError)
def probes(subject: Subject) -> None:
    """GET and HEAD of the probes, /metrics, /docs.json, /, /v2/health/ready and /ui get 200.

    Where the page may be off, /ui may get 404.
    """
    for path in PATHS:
        for method in ("GET", "HEAD"):
            status = subject.service.client.request(method, path).status_code
            is_off = path == "/ui" and status == 404 and _page_may_be_off(subject)
            if status != 200 and not is_off:
                raise Flaw(f"{method} {path}: status {status}, not 200")


def _page_may_be_off(subject: Subject) -> bool:
    """Say whether the image switches /ui off; nobody can tell of a service at an address."""
    if isinstance(subject.built, str):
        return True
    variables = dict(v.split("=", 1) for v in subject.image.config.get("Env") or [])
    return not Settings.from_environment({_UI: variables.get(_UI, "")}).ui


@check(ContractCheckError)
def json_answers(subject: Subject) -> None:
    """Valid JSON is answered with JSON, whatever the case of its Content-Type or without one."""
    for path, body in (("/predict", ["good"]), ("/classify", {"texts": ["good", "bad"]})):
        for given in ("application/json", "Application/JSON; charset=utf-8", ""):
            read_json(subject.service.ask(path, body, given))


@check(ContractCheckError)
def json_types(subject: Subject) -> None:
    """Answers have the members of the contract and no others, and each its exact JSON type."""
    for text in ("good", "bad"):
        answer = read_json(subject.service.ask("/predict", [text]))
        _require_members("/predict", answer, {"positive": bool})
    answer = read_json(subject.service.ask("/classify", {"texts": ["good", "bad " * 1000]}))
    _require_members("/classify", answer, {"model": str, "predictions": list})
    for prediction in answer["predictions"]:
        members: dict[str, type] = {"label": str, "score": float, "truncated": bool}
        _require_members("/classify", prediction, members)


def _require_members(path: str, answer: Any, members: dict[str, type]) -> None:
    if not isinstance(answer, dict) or set(answer) != set(members):
        raise Flaw(f"POST {path}: {answer!r} is no object of {', '.join(members)} alone")
    for name, kind in members.items():
        value = answer[name]
        # A bool is an int, and a score of 1 may be written without a decimal point.
        right = type(value) is kind or (kind is float and type(value) is int)
        if not right:
            raise Flaw(
                f"POST {path}: {name} is {json.dumps(value)}, a {_json_type(value)} rather than "
                f"a {_json_type(kind())}"
            )


def _json_type(value: object) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array"}
    return names.get(type(value), "null or an object")


@check(ContractCheckError)
def malformed_400(subject: Subject) -> str:
    """What is not JSON in UTF-8, or is nested too deep, is refused with 400."""
    return _refused(subject.service, 400)


@check(ContractCheckError)
def unknown_path_404(subject: Subject) -> str:
    """An unknown path is refused with 404."""
    return _refused(subject.service, 404)


@check(ContractCheckError)
def wrong_method_405(subject: Subject) -> str:
    """A wrong method is refused with 405, and Allow names the right ones."""
    return _refused(subject.service, 405)


@check(ContractCheckError)
def too_large_413(subject: Subject) -> str:
    """A body of more than 1 MiB is refused with 413, and never read to its end."""
    shown = _refused(subject.service, 413)
    most, sent = 64 * 2**20, 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < most:
            sent += 65_536
            yield b" " * 65_536

    request = WrongRequest("a body without end", "POST", "/predict")
    post = subject.service.client.post
    response = patiently(lambda: post("/predict", content=endless(), headers=request.headers))
    require_problem(response, 413, request)
    if sent >= most:
        raise Flaw(f"POST /predict: {request.name} was read for {most >> 20} MiB")
    return shown


@check(ContractCheckError)
def other_type_415(subject: Subject) -> str:
    """Forms and everything else that is not JSON are refused with 415."""
    return _refused(subject.service, 415)


@check(ContractCheckError)
def invalid_422(subject: Subject) -> str:
    """JSON of the wrong shape is refused with 422, which says where each fault is."""
    return _refused(subject.service, 422)


def _refused(service: Service, status: int) -> str:
    for request in REFUSED[status]:
        send = partial(service.client.request, request.method, request.path)
        headers = dict(request.headers)
        response = patiently(partial(send, content=request.body, headers=headers))
        problem = require_problem(response, status, request)
        if status == 422:
            pointers = tuple(str(fault.get("pointer")) for fault in problem.get("errors", []))
            if pointers != request.faults:
                raise Flaw(
                    f"{request.method} {request.path}, {request.name}: errors point to "
                    f"{pointers}, not to {request.faults}"
                )
    return f"{len(REFUSED[status])} requests"


def require_problem(response: httpx.Response, status: int, request: WrongRequest) -> dict[str, Any]:
    """Return the problem that an answer is (RFC 9457).

    Raises:
        Flaw: It has another status or form, or repeats the input.
    """
    what = f"{request.method} {request.path}, {request.name}"
    if response.status_code != status:
        raise Flaw(f"{what}: status {response.status_code}, not {status}")
    if response.headers.get("content-type") != PROBLEM:
        raise Flaw(f"{what}: Content-Type {response.headers.get('content-type')!r}, not {PROBLEM}")
    try:
        problem = json.loads(response.content)
    except ValueError as exc:
        raise Flaw(f"{what}: the problem is not JSON: {exc}") from exc
    members = {"type": str, "title": str, "status": int, "detail": str, "request_id": str}
    wrong = [name for name, kind in members.items() if type(problem.get(name)) is not kind]
    if wrong or problem["status"] != status:
        raise Flaw(f"{what}: the problem lacks {', '.join(wrong) or 'its own status'}")
    if problem["request_id"] != response.headers.get("x-request-id"):
        raise Flaw(f"{what}: request_id is not what X-Request-Id says")
    for name, value in request.answer_headers.items():
        if response.headers.get(name) != value:
            raise Flaw(f"{what}: {name.title()} is {response.headers.get(name)!r}, not {value!r}")
    if MARKER in response.text:
        raise Flaw(f"{what}: the answer repeats the input")
    return dict(problem)


@check(ContractCheckError)
def id_and_model(subject: Subject) -> str:
    """Every answer names its request in X-Request-Id and the expected model in X-Model."""
    tag, client = subject.expected.tag, subject.service.client
    mine = uuid.uuid4().hex
    requests: list[tuple[str, str, object]] = [
        *(("GET", path, None) for path in (*PATHS, "/nope")),
        *(("POST", "/predict", body) for body in (["good"], [])),
        *(("POST", "/classify", body) for body in ({"texts": ["good"]}, {"texts": 1})),
    ]
    for method, path, body in requests:
        response = client.request(method, path, json=body, headers={"X-Request-Id": mine})
        found = response.headers.get("x-request-id"), response.headers.get("x-model")
        if found != (mine, tag):
            raise Flaw(
                f"{method} {path}: X-Request-Id and X-Model are {found[0]!r} and {found[1]!r}, "
                f"not {mine!r} and {tag!r}"
            )
    given = {client.get("/livez").headers.get("x-request-id") for _ in range(2)}
    if len(given) != 2 or None in given:
        raise Flaw("GET /livez: two requests without an X-Request-Id do not get one each")
    return tag


@check(ContractCheckError)
def openapi(subject: Subject) -> None:
    """/docs.json is the OpenAPI document that was committed."""
    served = read_json(subject.service.get("/docs.json"))
    if served != subject.openapi:
        different = [
            key
            for key in sorted({*served, *subject.openapi})
            if served.get(key) != subject.openapi.get(key)
        ]
        raise Flaw(f"GET /docs.json differs from the document in {', '.join(different)}")


@check(ContractCheckError)
def limits_401_429_504(subject: Subject) -> str:
    """Where keys, a short queue and a short deadline are set they give 401, 429 and 504."""
    environment = {
        "TEXTCLF_API_KEYS_FILE": "/keys",
        "TEXTCLF_MAX_QUEUE_TEXTS": str(MAX_TEXTS),
        "TEXTCLF_INFERENCE_THREADS": "1",
        "TEXTCLF_REQUEST_TIMEOUT_SECONDS": "0.05",
    }
    with (
        _keys() as keys,
        subject.ready_image.ready_container(
            "--mount", f"type=bind,source={keys},target=/keys,readonly", environment=environment
        ) as (_, service),
    ):
        for key in ("", "Bearer wrong", f"Basic {_KEY}"):
            _require_401(service, key)
        seen = _press(service)
    return f"of {sum(seen.values())} requests at once {seen[429]} got 429, {seen[504]} 504"


@contextmanager
def _keys() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="textclf-check-") as folder:
        path = Path(folder) / "keys"
        path.write_text(f"check:{hashlib.sha256(_KEY.encode()).hexdigest()}\n", "utf-8")
        Path(folder).chmod(0o755)  # the user of the container is another
        yield path


def _require_401(service: Service, authorization: str) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    request = WrongRequest("without a key", "POST", "/predict")
    response = service.client.post("/predict", json=["good"], headers=headers)
    require_problem(response, 401, request)
    if response.headers.get("www-authenticate") != "Bearer":
        raise Flaw("POST /predict, without a key: WWW-Authenticate is not Bearer")


def _press(service: Service) -> dict[int, int]:
    """Send more than the queue holds until both refusals were seen; count the statuses."""
    seen = {429: 0, 504: 0}
    request = WrongRequest("more texts than the queue holds", "POST", "/classify")
    headers = {"Authorization": f"Bearer {_KEY}"}

    def send(_: int) -> httpx.Response:
        return service.client.post("/classify", json=LONG_TEXTS, headers=headers)

    with ThreadPoolExecutor(8) as pool:
        for _ in range(_ROUNDS):
            for response in pool.map(send, range(8)):
                status = response.status_code
                if status not in seen:
                    raise Flaw(f"POST /classify, {request.name}: status {status}, not 429 or 504")
                require_problem(response, status, request)
                seen[status] += 1
                if status == 429 and not response.headers.get("retry-after", "").isdecimal():
                    raise Flaw(f"POST /classify, {request.name}: 429 without Retry-After")
            if all(seen.values()):
                return seen
    missing = ", ".join(str(status) for status, count in seen.items() if not count)
    raise Flaw(f"POST /classify, {request.name}: never {missing} in {sum(seen.values())} requests")
