"""What both workers share: one request in, one answer out, and what an SDK's error means.

A worker runs in an environment of its own, so this module imports the standard library alone. The
request comes on standard input as one line of JSON; the answer goes out the same way, as
``{"result": …}`` or ``{"error": {"kind", "detail"}}``. Standard input stays open for as long as the
importer lives: a worker whose importer was killed sees it end, and ends too.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

Request = Mapping[str, Any]

_AADSTS = re.compile(r"AADSTS\d+")
_REFUSED = (401, 403)
_BUSY = (408, 429, 500, 502, 503, 504)
_INVALID = (400, 422)
_MESSAGE = re.compile(r'"message": ?"([^"]+)"')
_MISSING_SUBSCRIPTION = re.compile(
    r"SubscriptionNotFound|InvalidSubscriptionId|The subscription '\S+' could not be found"
    r"|don't have access to \S+ subscription"
)
_NETWORK = re.compile(
    r"ConnectionError|ConnectTimeout|ReadTimeout|ServiceRequest|ServiceResponse|IncompleteRead"
    r"|ClientRequestError|NewConnection|MaxRetry|ProtocolError|gaierror"
)


class Failure(Exception):  # noqa: N818 - it is what the importer is told, and no error of its own
    """Why there is no result.

    Attributes:
        kind: What the importer knows the remedy for.
        detail: A code, a host or a sentence; it may hold secrets until the importer redacts it.
    """

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(kind)
        self.kind = kind
        self.detail = detail


def serve(actions: Mapping[str, Callable[[Request], Any]]) -> None:
    """Answer the one request on standard input; what an SDK prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_importer, daemon=True).start()
    try:
        answer = {"result": actions[request["action"]](request)}
    except Failure as failure:
        answer = {"error": {"kind": failure.kind, "detail": failure.detail}}
    answers.write("\n" + json.dumps(answer) + "\n")
    answers.close()
    sys.stderr.flush()
    os._exit(0)  # the SDKs leave threads and exit handlers that wait for the network


def _end_with_importer() -> None:
    sys.stdin.read()
    os._exit(1)


@contextmanager
def looking_for(kind: str) -> Iterator[None]:
    """Turn whatever an SDK raises into a ``Failure``; a 404 means that ``kind`` is missing."""
    try:
        yield
    except Failure:
        raise
    except Exception as exc:  # the SDKs share no base, and raise KeyError and TypeError too
        raise explain(exc, kind) from exc


def explain(exc: BaseException, kind: str) -> Failure:
    """Return what an SDK's error means while it looked for a ``kind`` of object."""
    chain = list(_chain(exc))
    text = "\n".join(str(link) for link in chain)
    names = " ".join(cls.__name__ for link in chain for cls in type(link).__mro__)
    if code := _AADSTS.search(text):
        return Failure("credentials", code[0])
    if kind == "sign-in" and "ChainedTokenCredential" in text:
        return Failure("no-credentials")
    if "ProxyError" in text + names:
        return Failure("proxy", _proxy())
    if "CERTIFICATE_VERIFY_FAILED" in text or "SSLError" in names:
        return Failure("tls")
    if _MISSING_SUBSCRIPTION.search(text):
        return Failure("subscription")
    return _explain_status(chain, kind) or _explain_rest(exc, text, names)


def _explain_status(chain: list[BaseException], kind: str) -> Failure | None:
    answer = next((link for link in chain if _status(link)), None)
    if answer is None:
        return None
    status = _status(answer)
    what = "files" if _is_of_storage(answer) else kind
    if status in _REFUSED:
        return Failure("forbidden", f"{what} {status}")
    if status == 404:
        return Failure(what)
    if status == 409:
        return Failure("conflict")
    if status in _INVALID:
        return Failure("invalid", _said(answer))
    return Failure("busy", str(status)) if status in _BUSY else None


def _is_of_storage(exc: BaseException) -> bool:
    response = getattr(exc, "response", None)
    request = getattr(response, "request", None)
    return ".blob." in (urlsplit(str(getattr(request, "url", ""))).hostname or "")


def _explain_rest(exc: BaseException, text: str, names: str) -> Failure:
    if _NETWORK.search(names + text):
        return Failure("network", _host(text))
    return Failure("other", f"{type(exc).__name__}: {_said(exc)}")


def _said(exc: BaseException) -> str:
    """Return what a service says, which v1 has somewhere in JSON, or else the first line."""
    said = str(getattr(exc, "message", None) or exc).strip()  # azureml's str() has a heading first
    found = _MESSAGE.search(said)
    return found[1] if found else said.partition("\n")[0]


def _chain(exc: BaseException | None) -> Iterator[BaseException]:
    """Return an error and all it wraps, in whichever attribute the SDKs keep that."""
    waiting, seen = [exc], set[int]()
    while waiting:
        link = waiting.pop(0)
        if not isinstance(link, BaseException) or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        inner = [getattr(link, name, None) for name in ("inner_exception", "_inner_exception")]
        waiting += [*inner, link.__cause__, link.__context__, *link.args]


def _status(exc: BaseException) -> int | None:
    response = getattr(exc, "response", None)
    for holder in (exc, response):
        status = getattr(holder, "status_code", None)
        if isinstance(status, int):
            return status
    said = re.search(r"Response Code: (\d{3})", str(exc))
    return int(said[1]) if said else None


def _proxy() -> str:
    """Return host and port of the proxy that the environment names, without what signs in to it."""
    location = getproxies().get("https", "")
    return urlsplit(location if "//" in location else f"//{location}").netloc.rpartition("@")[2]


def _host(text: str) -> str:
    found = re.search(r"host='([\w.-]+)'|https://([\w.-]+)", text)
    return (found[1] or found[2]) if found else ""


def default_subscription() -> str:
    """Return the subscription that the Azure CLI is set to.

    Raises:
        Failure: There is no Azure CLI, or nobody has logged in.
    """
    command = ["az", "account", "show", "--query", "id", "--output", "tsv"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        raise Failure("no-subscription") from None
    return shown.stdout.strip()


def model_uri(request: Request, subscription_id: str, version: str) -> str:
    """Return the long form that both SDKs take a model by."""
    return (
        f"azureml://subscriptions/{subscription_id}/resourceGroups/{request['resource_group']}"
        f"/workspaces/{request['workspace']}/models/{request['name']}/versions/{version}"
    )


def in_utc(moment: datetime | None) -> str | None:
    """Return a time in ISO 8601; one without a zone is taken to be UTC."""
    if moment is None:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec="seconds")
