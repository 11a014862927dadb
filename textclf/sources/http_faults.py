"""What can go wrong between a server and a download: what is tried again, and what it is called.

Nothing here names a query, user information, or the value of a header: they hold secrets.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.request import getproxies, proxy_bypass

import httpx

from textclf.errors import (
    AccessError,
    DownloadError,
    SourceNotFoundError,
    TextClassifierError,
    UntrustedContentError,
)

_BUSY = {408, 429}
_UNFINISHED = (  # a handshake that broke off, rather than one that failed
    ssl.SSLEOFError,
    ssl.SSLSyscallError,
    ssl.SSLWantReadError,
    ssl.SSLWantWriteError,
    ssl.SSLZeroReturnError,
)
_PROXY_REMEDY = "check HTTPS_PROXY and its password, or exempt the host with NO_PROXY"


class TransientError(Exception):
    """What may be gone at the next try.

    Attributes:
        reason: What happened.
        remedy: What to do if it stays.
        wait_seconds: How long the server asks to wait, if it does.
    """

    def __init__(self, reason: str, remedy: str, *, wait_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
        self.wait_seconds = wait_seconds


def place_of(url: str | httpx.URL) -> str:
    """Return scheme, host and path of an address: what of it may be shown."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return "an address that cannot be read"
    path = parsed.raw_path.partition(b"?")[0].decode("ascii")
    return f"{parsed.scheme}://{parsed.netloc.decode('ascii')}{path}"


def require_https(url: str | httpx.URL, name: str) -> httpx.URL:
    """Return the address if it is one, with https.

    Raises:
        DownloadError: It is not.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as exc:
        raise DownloadError(f"cannot download {name}: it is no URL; check the address") from exc
    if parsed.scheme != "https" or not parsed.host:
        raise DownloadError(
            f"cannot download {name}: {place_of(parsed)} is not https; give an https address"
        )
    return parsed


def check_response(response: httpx.Response, name: str) -> None:
    """Pass an answer that holds the file, or the rest of it.

    Raises:
        TransientError: It may go better at the next try.
        AccessError: The credentials are refused.
        SourceNotFoundError: There is no such file.
        DownloadError: The server does not want to for another reason.
        UntrustedContentError: The file would come compressed.
    """
    status = response.status_code
    says = f"cannot download {name}: it answers {status}"
    if status in _BUSY or status >= 500:
        wait_seconds = _wait_seconds(response.headers.get("Retry-After"))
        raise TransientError(f"it answers {status}", "retry later", wait_seconds=wait_seconds)
    if status in {401, 403}:
        raise AccessError(f"{says}; check the credentials, and that they may read this file")
    if status == 404:
        raise SourceNotFoundError(f"{says}; check the name and the version")
    if status not in {200, 206}:
        raise DownloadError(f"{says}, which is no file; check the address")
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        raise UntrustedContentError(
            f"cannot download {name}: it comes with the Content-Encoding {encoding!r}, though it "
            "was asked for as it is; store it without one"
        )


def transport_fault(
    exc: httpx.TransportError, name: str, host: str
) -> TransientError | TextClassifierError:
    """Return what to raise for a failure below HTTP: a transient error, or one that stays."""
    tls = next((e for e in _chain(exc) if isinstance(e, ssl.SSLError)), None)
    if isinstance(exc, httpx.ConnectError) and tls and not isinstance(tls, _UNFINISHED):
        return _tls_fault(tls, name)
    if isinstance(exc, httpx.LocalProtocolError | httpx.UnsupportedProtocol):
        return unsendable(name)
    if "location header" in str(exc):
        return DownloadError(
            f"cannot download {name}: it redirects to something that is no URL; give the address "
            "that it should lead to"
        )
    if isinstance(exc, httpx.ProxyError):
        reason = f"the proxy {_proxy_for(host)} refuses ({exc})"
        if str(exc).startswith("4"):  # such as 407; a proxy that is overloaded says 5xx
            return DownloadError(f"cannot download {name}: {reason}; {_PROXY_REMEDY}")
        return TransientError(reason, _PROXY_REMEDY)
    return _connection_fault(exc, host)


def _tls_fault(exc: ssl.SSLError, name: str) -> DownloadError:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return DownloadError(
            f"cannot download {name}: the certificate is not trusted ({exc.verify_message}); if it "
            "is of a CA of your own, or of a proxy, name that CA's file in SSL_CERT_FILE"
        )
    return DownloadError(
        f"cannot download {name}: no TLS connection ({exc.reason or type(exc).__name__}); check "
        "host and port, and that a proxy between lets TLS through"
    )


def _connection_fault(exc: httpx.TransportError, host: str) -> TransientError:
    reason = str(exc) or type(exc).__name__
    if not isinstance(exc, httpx.ConnectError | httpx.ConnectTimeout):
        return TransientError(f"the connection broke ({reason})", "check the network and retry")
    proxy = _proxy_for(host)
    if proxy:
        return TransientError(f"no connection through the proxy {proxy} ({reason})", _PROXY_REMEDY)
    remedy = "check the address and the network, and HTTPS_PROXY if there is a proxy"
    return TransientError(f"no connection ({reason})", remedy)


def unsendable(name: str) -> DownloadError:
    """Return what to raise where a header is none that HTTP can carry."""
    return DownloadError(
        f"cannot download {name}: the request cannot be sent; check the credentials for spaces, "
        "line breaks and letters beyond ASCII"
    )


def client_fault(exc: Exception) -> DownloadError:
    """Return what to raise where no client can be made of what the environment sets."""
    if isinstance(exc, OSError):
        return DownloadError(
            "cannot read the certificates that SSL_CERT_FILE or SSL_CERT_DIR names; let it name "
            "PEM files of trusted CAs, or unset it"
        )
    return DownloadError(
        "cannot use the proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names; let it be like "
        "http://proxy.example:3128, or unset it"
    )


def _wait_seconds(retry_after: str | None) -> float | None:
    """Read a Retry-After, which is a number of seconds or a date."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after).astimezone(UTC)
    except (OverflowError, ValueError):
        return None
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


def _proxy_for(host: str) -> str | None:
    """Return the proxy that requests to ``host`` go through, without its user and password."""
    proxies = getproxies()
    proxy = proxies.get("https") or proxies.get("all")
    if not proxy or proxy_bypass(host):
        return None
    return place_of(proxy if "://" in proxy else f"http://{proxy}").rstrip("/")


def _chain(exc: BaseException | None) -> Iterator[BaseException]:
    while exc is not None:
        yield exc
        exc = exc.__cause__ or exc.__context__
