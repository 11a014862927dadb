"""What checks look at: a running service, and the image that it was started from."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn, Self

import httpx

from textclf.artifact import Artifact
from textclf.image.checks.check import Flaw, Unjudged
from textclf.image.checks.container import Container, Containers, Start
from textclf.image.checks.layers import Contents

PORT = 3000
JSON = "application/json"
_TIMEOUT_SECONDS = 90.0  # longer than a service may take


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an image may take.

    Attributes:
        size_budget_mb: What it may add to its base, in MB of 10^6 bytes.
        start_limit_seconds: From `docker run` to ready.
        memory_limit_mb: Memory of the container, in MB of 10^6 bytes.
    """

    size_budget_mb: float = 250
    start_limit_seconds: float = 30
    memory_limit_mb: float = 1024


class Service:
    """A running service, asked over HTTP; a context manager that closes its connections."""

    def __init__(self, url: str) -> None:
        self.url = url
        # A server closes idle connections after 5 s; one that it closes is never used again.
        limits = httpx.Limits(max_connections=64, keepalive_expiry=1)
        self.client = httpx.Client(
            base_url=url, timeout=_TIMEOUT_SECONDS, limits=limits, trust_env=False
        )

    def __enter__(self) -> Self:
        """Return the service."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.client.close()

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Send a GET."""
        return self.client.get(path, headers=headers)

    def post(self, path: str, body: object, media_type: str = JSON) -> httpx.Response:
        """Send ``body`` as JSON; bytes go as they are. An empty media type is not declared."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": media_type} if media_type else {}
        return self.client.post(path, content=content, headers=headers)

    def ask(self, path: str, body: object, media_type: str = JSON) -> httpx.Response:
        """Send ``body`` as JSON, again while it is refused for what others ask at the same time."""
        return patiently(lambda: self.post(path, body, media_type))

    def predict(self, text: str) -> bool:
        """Return what /predict says of one text.

        Raises:
            Flaw: The answer is no boolean.
        """
        positive = read_json(self.ask("/predict", [text]))["positive"]
        if not isinstance(positive, bool):
            raise Flaw(f"POST /predict: positive is {positive!r}, not a JSON boolean")
        return positive

    def classify(self, *texts: str) -> list[dict[str, Any]]:
        """Return the predictions of one call of /classify.

        Raises:
            Flaw: The answer holds no prediction for each text.
        """
        predictions = read_json(self.ask("/classify", {"texts": texts}))["predictions"]
        if len(predictions) != len(texts):
            raise Flaw(f"POST /classify: {len(predictions)} predictions for {len(texts)} texts")
        return list(predictions)


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image, and one hardened container of it that the checks share.

    Attributes:
        described: What `docker image inspect` says.
        containers: Where more containers of it are started.
        shared: The container that the service under test runs in; no check may disturb it.
        start: How that container started.
        base: Returns what docker says of the base, which it may pull; raises CheckFailedError.
        read_contents: Reads every layer.
    """

    described: dict[str, Any]
    containers: Containers
    shared: Container
    start: Start
    base: Callable[[], dict[str, Any]]
    read_contents: Callable[[], Contents]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _read: list[Contents] = field(default_factory=list)

    @property
    def config(self) -> dict[str, Any]:
        """Configuration that containers of it start with."""
        return dict(self.described["Config"])

    @property
    def labels(self) -> dict[str, str]:
        """Labels of the image."""
        return dict(self.config.get("Labels") or {})

    @property
    def contents(self) -> Contents:
        """Files of the image, read when they are first asked for."""
        with self._lock:
            if not self._read:
                self._read.append(self.read_contents())
        return self._read[0]

    @contextmanager
    def ready_container(
        self, *options: str, environment: Mapping[str, str] | None = None
    ) -> Iterator[tuple[Container, Service]]:
        """Run another container until the caller is done with it.

        Raises:
            Flaw: It does not become ready.
        """
        with self.containers.run(*options, environment=environment or {}) as container:
            start = container.wait_until_ready()
            if start.seconds is None:
                raise Flaw(f"a container of its own did not become ready: {start.reason}")
            with Service(container.url) as service:
                yield container, service


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Everything that a check may look at.

    Attributes:
        expected: The model that has to be served.
        openapi: The OpenAPI document that has to be served.
        limits: What the image may take.
        running: The service, or why there is none to ask.
        built: The image, or why there is none to look at.
    """

    expected: Artifact
    openapi: Any
    limits: Limits
    running: Service | str
    built: Image | str

    @property
    def service(self) -> Service:
        """The running service.

        Raises:
            Unjudged: There is none to ask.
        """
        if isinstance(self.running, str):
            raise Unjudged(self.running)
        return self.running

    @property
    def image(self) -> Image:
        """The image, whether its service runs or not.

        Raises:
            Unjudged: There is none to look at.
        """
        if isinstance(self.built, str):
            raise Unjudged(self.built)
        return self.built

    @property
    def ready_image(self) -> Image:
        """The image, known to become ready.

        Raises:
            Unjudged: There is none to look at, or it does not become ready.
        """
        image = self.image
        _ = self.service
        return image


def patiently(send: Callable[[], httpx.Response]) -> httpx.Response:
    """Send a request again while it gets 429: many checks ask at the same time."""
    ends = time.monotonic() + _TIMEOUT_SECONDS
    while True:
        answer = send()
        after = answer.headers.get("retry-after", "")
        is_full = answer.status_code == httpx.codes.TOO_MANY_REQUESTS and after.isdecimal()
        if not is_full or time.monotonic() + int(after) > ends:
            return answer
        time.sleep(int(after))


def read_json(response: httpx.Response) -> Any:
    """Return the JSON of an answer of 200, more strictly than ``json.loads`` would.

    Raises:
        Flaw: It is no such answer, or no JSON: NaN and Infinity are not.
    """
    what = f"{response.request.method} {response.request.url.path}"
    if response.status_code != 200:
        raise Flaw(f"{what}: status {response.status_code}, not 200")
    if response.headers.get("content-type", "").partition(";")[0] != JSON:
        raise Flaw(f"{what}: Content-Type {response.headers.get('content-type')!r}, not {JSON}")
    try:
        return json.loads(response.content.decode("utf-8"), parse_constant=_refuse_constant)
    except ValueError as exc:
        raise Flaw(f"{what}: the body is not JSON: {exc}") from exc


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which JSON has not")
