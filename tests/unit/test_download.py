"""Downloads: all files or none, through whatever servers and networks do."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.https_server import (
    Answer,
    Exchange,
    HttpsServer,
    chunked,
    compressed,
    content,
    redirect,
    refusing_proxy,
    silent,
    status,
    trickling_body,
    trickling_headers,
    truncated,
)
from textclf.errors import (
    AccessError,
    DownloadError,
    SourceNotFoundError,
    TextClassifierError,
    UntrustedContentError,
)
from textclf.sources import download as download_module
from textclf.sources import transfer as transfer_module
from textclf.sources.download import Limits, RemoteFile, download
from textclf.sources.paths import check_paths

BODY = bytes(range(256)) * 400
ETAG = '"one"'
SECRET = "s3cr3t"  # noqa: S105 - planted, to be looked for
SHORT = Limits(timeout_seconds=0.5)
SIGNED = f"?sig={SECRET}"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_module, "_BACKOFF_SECONDS", 0.001)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """An empty folder."""
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def signed_file(
    web: HttpsServer, path: str = "model.onnx", sha256: str | None = None
) -> RemoteFile:
    """Return a file whose address and headers hold secrets."""
    url = web.url(f"/{path}", user=f"user:{SECRET}@", query=SIGNED)
    return RemoteFile(path=path, url=url, headers={"X-Key": SECRET}, sha256=sha256)


Refused = Callable[..., str]


@pytest.fixture
def refused(target: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Refused]:
    """Download what must fail and return the message: neither it nor the logs hold a secret."""
    caplog.set_level(logging.DEBUG)

    def _download(
        file: RemoteFile,
        kind: type[TextClassifierError] = DownloadError,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> str:
        with pytest.raises(TextClassifierError) as caught:
            download([file], target, limits)
        assert type(caught.value) is kind
        assert SECRET not in str(caught.value) + caplog.text
        return str(caught.value)

    yield _download
    assert list(target.iterdir()) == []


def test_files_arrive_where_their_paths_say(web: HttpsServer, target: Path) -> None:
    """Folders are made, bytes and hashes are right, and nothing else is there."""
    web.answers["/model/model.onnx"] = [content(BODY)]
    web.answers["/tokenizer.json"] = [chunked(b"{}")]
    sha256 = hashlib.sha256(BODY).hexdigest().upper()

    download(
        [signed_file(web, "model/model.onnx", sha256), signed_file(web, "tokenizer.json")],
        target,
        Limits(),
    )

    assert (target / "model/model.onnx").read_bytes() == BODY
    assert (target / "tokenizer.json").read_bytes() == b"{}"
    assert len([path for path in target.rglob("*") if path.is_file()]) == 2
    assert web.requests[0].headers["Accept-Encoding"] == "identity"
    assert web.requests[0].headers["X-Key"] == SECRET


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/etc/passwd", "is absolute"),
        ("../model.onnx", "leads out of its folder"),
        ("a/../../model.onnx", "leads out of its folder"),
        ("a/..", "leads out of its folder"),
        ("", "has an empty part"),
        ("a//b", "has an empty part"),
        ("a/", "has an empty part"),
        ("./a", "has an empty part"),
        ("..\\a", "is a Windows path"),
        ("C:/a", "is a Windows path"),
        ("c:a", "is a Windows path"),
        ("a\0b", "has characters that cannot be shown"),
        ("a\nb", "has characters that cannot be shown"),
        ("a\x1b[2J", "has characters that cannot be shown"),
        ("a\u202exnno.b", "has characters that cannot be shown"),
        ("a\ud800", "has characters that cannot be shown"),
        ("ä" * 128, "has a part of more than 255 bytes"),
        ("a/" * 512 + "b", "is longer than 1024 bytes"),
    ],
)
def test_path_that_leads_elsewhere(path: str, reason: str, web: HttpsServer, target: Path) -> None:
    """It is refused by its name before the first byte is asked for."""
    web.answers["/sound"] = [content(BODY)]

    with pytest.raises(UntrustedContentError) as caught:
        download(
            [signed_file(web, "sound"), RemoteFile(path=path, url=web.url("/x"))], target, Limits()
        )

    assert f"{path!r}, which {reason}; nothing was downloaded" in str(caught.value)
    assert (web.requests, list(target.iterdir())) == ([], [])


@pytest.mark.parametrize(
    ("paths", "reason"),
    [
        (["a/b", "a/b"], "is named twice"),
        (["a/b", "a/B"], "differs from 'a/b' only by case"),
        (["a/b", "A/c"], "differs from 'a' only by case"),
        (["\u00e9", "e\u0301"], "differs from '\u00e9' only by case"),
        (["a", "a/b"], "makes 'a' a file and a folder"),
        (["a/b/c", "a/b"], "makes 'a/b' a file and a folder"),
    ],
    ids=["twice", "case", "case of a folder", "composition", "file above", "file below"],
)
def test_paths_that_clash(paths: list[str], reason: str) -> None:
    """What some file systems cannot hold side by side is refused on all."""
    with pytest.raises(UntrustedContentError, match="rename it there and retry") as caught:
        check_paths(paths)

    assert reason in str(caught.value)


_PARTS = st.one_of(
    st.sampled_from(["..", ".", "", "a", "A", "\\", "C:", "~", "\0", "..\\", "%2e%2e", "\u2024."]),
    st.text(max_size=4),
)


@given(path=st.one_of(st.text(), st.lists(_PARTS, min_size=1, max_size=5).map("/".join)))
def test_accepted_path_stays_inside(path: str) -> None:
    """Whatever is accepted names something below the folder and can be opened."""
    try:
        check_paths([path])
    except UntrustedContentError:
        return
    folder = Path("/target/folder")
    resolved = Path(os.path.realpath(folder / path))

    assert folder in resolved.parents
    assert resolved.relative_to(folder).as_posix() == path
    assert os.fsencode(resolved)


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (status(401), AccessError, "it answers 401; check the credentials"),
        (status(403), AccessError, "it answers 403; check the credentials"),
        (status(404), SourceNotFoundError, "it answers 404; check the name"),
        (status(410), DownloadError, "it answers 410, which is no file; check the address"),
        (status(204), DownloadError, "it answers 204, which is no file; check the address"),
        (status(304), DownloadError, "it answers 304, which is no file; check the address"),
        (status(408), DownloadError, "it answers 408, 4 times in a row; retry later"),
        (status(429), DownloadError, "it answers 429, 4 times in a row; retry later"),
        (status(500), DownloadError, "it answers 500, 4 times in a row; retry later"),
        (truncated(BODY, 9), DownloadError, "4 times in a row; check the network and retry"),
        (compressed(BODY), UntrustedContentError, "with the Content-Encoding 'gzip'"),
        (content(b""), UntrustedContentError, "is empty; nothing was kept"),
        (redirect("/model.onnx"), DownloadError, "redirects more than 5 times; give the address"),
        (
            redirect(f"http://127.0.0.1/a{SIGNED}"),
            DownloadError,
            "http://127.0.0.1/a is not https; give an https address",
        ),
        (
            redirect(f"https://127.0.0.1:port/a{SIGNED}"),
            DownloadError,
            "it redirects to something that is no URL; give",
        ),
    ],
    ids=[
        "401",
        "403",
        "404",
        "another 4xx",
        "no content",
        "not modified",
        "timed out",
        "too many requests",
        "server fault",
        "cut short",
        "compressed",
        "empty",
        "redirects in a circle",
        "redirects to http",
        "redirects to no URL",
    ],
)
def test_answer_that_is_refused(
    answer: Answer,
    kind: type[TextClassifierError],
    message: str,
    web: HttpsServer,
    refused: Refused,
) -> None:
    """The message names the file, the address and the next step."""
    web.answers["/model.onnx"] = [answer]

    said = refused(signed_file(web), kind)

    assert message in said
    assert f"'model.onnx' from https://127.0.0.1:{web.port}/model.onnx" in said


TOMORROW = format_datetime(datetime.now(UTC) + timedelta(days=1))


@pytest.mark.parametrize(
    ("answer", "limits", "message"),
    [
        (trickling_body, SHORT, "it takes longer than 0.5 s; allow more time with --timeout-s"),
        (trickling_headers, SHORT, "it takes longer than 0.5 s; allow more time with --timeout-s"),
        (silent, SHORT, "it takes longer than 0.5 s; allow more time with --timeout-seconds"),
        (status(503, Retry_After=601), Limits(), "it answers 503 and can be tried again only in 6"),
        (status(429, Retry_After=TOMORROW), Limits(), "is more than --timeout-seconds leaves; ret"),
        (content(BODY), Limits(max_bytes=9), "are larger than 9 bytes; allow more with --max-by"),
        (chunked(BODY), Limits(max_bytes=9), "are larger than 9 bytes; allow more with --max-by"),
    ],
    ids=[
        "trickling body",
        "trickling headers",
        "silent",
        "asks to wait too long",
        "asks to wait until tomorrow",
        "too large by its length",
        "too large without length",
    ],
)
def test_answer_beyond_a_limit(
    answer: Answer, limits: Limits, message: str, web: HttpsServer, refused: Refused
) -> None:
    """What is too large or too slow is not asked for again, and the option is named."""
    web.answers["/model.onnx"] = [answer]

    started = time.monotonic()
    said = refused(signed_file(web), DownloadError, limits)

    assert time.monotonic() - started < 5
    assert message in said
    assert len(web.requests) <= 1


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_refusal_is_not_tried_again(code: int, web: HttpsServer, refused: Refused) -> None:
    """What does not go away is asked for once."""
    web.answers["/model.onnx"] = [status(code)]
    kinds = {401: AccessError, 403: AccessError, 404: SourceNotFoundError}
    refused(signed_file(web), kinds.get(code, DownloadError))

    assert len(web.requests) == 1


def test_wrong_sha256(web: HttpsServer, refused: Refused) -> None:
    """Both hashes are named, and the file is gone."""
    web.answers["/model.onnx"] = [content(BODY)]
    expected = "0" * 64

    said = refused(signed_file(web, sha256=expected), UntrustedContentError)

    assert f"has the sha256 {hashlib.sha256(BODY).hexdigest()}, not {expected}" in said


def test_last_of_several_files_fails(web: HttpsServer, target: Path) -> None:
    """A failure takes back the files that had arrived."""
    web.answers["/a/first"] = [content(BODY)]

    with pytest.raises(SourceNotFoundError, match="'second' from"):
        download([signed_file(web, "a/first"), signed_file(web, "second")], target, Limits())

    assert list(target.iterdir()) == []


def test_limit_is_on_all_files_together(web: HttpsServer, target: Path) -> None:
    """Two files that fit alone do not fit together."""
    web.answers |= {"/first": [content(BODY)], "/second": [content(BODY)]}
    files = [signed_file(web, "first"), signed_file(web, "second")]

    with pytest.raises(DownloadError, match=r"'second' .* together are larger than"):
        download(files, target, Limits(max_bytes=2 * len(BODY) - 1))
    assert list(target.iterdir()) == []
    download(files, target, Limits(max_bytes=2 * len(BODY)))


@pytest.mark.parametrize(
    "faults",
    [
        [status(503)] * 3,
        [status(429, Retry_After=0), status(408), status(500)],
        [truncated(BODY, 1000)] * 3,
        [truncated(BODY, 0), status(502), truncated(BODY, len(BODY) - 1)],
    ],
    ids=["busy", "busy in other ways", "cut short", "a bit of each"],
)
def test_fourth_try(faults: list[Answer], web: HttpsServer, target: Path) -> None:
    """Three faults are survived."""
    web.answers["/model.onnx"] = [*faults, content(BODY)]

    download([signed_file(web)], target, Limits())

    assert (target / "model.onnx").read_bytes() == BODY
    assert [request.headers.get("Range") for request in web.requests] == [None] * 4


def test_wait_that_the_server_asks_for(web: HttpsServer, target: Path) -> None:
    """Retry-After goes before the pause of our own."""
    web.answers["/model.onnx"] = [status(503, Retry_After=1), content(BODY)]

    started = time.monotonic()
    download([signed_file(web)], target, Limits())

    assert time.monotonic() - started >= 1


def test_silence_is_tried_again(
    web: HttpsServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection on which nothing comes is given up long before the time is over."""
    monkeypatch.setattr(download_module, "_MAX_SILENCE_SECONDS", 0.5)
    web.answers["/model.onnx"] = [silent, content(BODY)]

    download([signed_file(web)], target, Limits())

    assert (target / "model.onnx").read_bytes() == BODY


def test_broken_download_goes_on(web: HttpsServer, target: Path) -> None:
    """With an ETag only what is missing is asked for, as often as it takes."""
    web.answers["/model.onnx"] = [
        truncated(BODY, 1000, etag=ETAG),
        status(503),
        content(BODY, etag=ETAG),
    ]

    download(
        [signed_file(web, sha256=hashlib.sha256(BODY).hexdigest())],
        target,
        Limits(max_bytes=len(BODY)),
    )

    assert (target / "model.onnx").read_bytes() == BODY
    for request in web.requests[1:]:
        assert (request.headers["Range"], request.headers["If-Range"]) == ("bytes=1000-", ETAG)


def _rest_from(start: int, etag: str) -> Answer:
    def _answer(exchange: Exchange) -> None:
        rest = BODY[start:]
        exchange.start(
            206,
            Content_Length=len(rest),
            Content_Range=f"bytes {start}-{len(BODY) - 1}/{len(BODY)}",
            ETag=etag,
        )
        exchange.wfile.write(rest)

    return _answer


@pytest.mark.parametrize(
    "answers",
    [
        [truncated(b"old" * 1000, 1000, etag='"old"'), content(BODY, etag=ETAG)],
        [truncated(BODY, 1000, etag='W/"one"'), content(BODY, etag='W/"one"')],
        [truncated(BODY, 1000, etag=ETAG), status(416), content(BODY)],
        [truncated(BODY, 1000, etag=ETAG), _rest_from(999, ETAG), content(BODY)],
        [truncated(BODY, 1000, etag=ETAG), _rest_from(1000, '"two"'), content(BODY)],
        [_rest_from(0, ETAG), content(BODY)],
    ],
    ids=["changed", "weak ETag", "no such range", "another range", "another ETag", "unasked"],
)
def test_what_does_not_fit_is_downloaded_anew(
    answers: list[Answer], web: HttpsServer, target: Path
) -> None:
    """Two versions, or two places of one, are never put together."""
    web.answers["/model.onnx"] = answers

    download([signed_file(web)], target, Limits())

    assert (target / "model.onnx").read_bytes() == BODY
    assert "Range" not in web.requests[0].headers


@pytest.mark.parametrize(
    ("hosts", "sent"),
    [
        (["127.0.0.1"], [True, True]),
        (["localhost"], [True, False]),
        (["localhost", "127.0.0.1"], [True, False, False]),
    ],
    ids=["own host", "another host", "there and back"],
)
def test_headers_stay_with_their_host(
    hosts: list[str], sent: list[bool], web: HttpsServer, target: Path
) -> None:
    """A redirect is followed, without headers once it has left the host."""
    steps = [web.url(f"/step{number}", host=host) for number, host in enumerate(hosts)]
    web.answers["/model.onnx"] = [redirect(steps[0])]
    for number, step in enumerate(steps[1:]):
        web.answers[f"/step{number}"] = [redirect(step)]
    web.answers[f"/step{len(steps) - 1}"] = [content(BODY)]

    download([signed_file(web)], target, Limits())

    assert (target / "model.onnx").read_bytes() == BODY
    assert ["X-Key" in request.headers for request in web.requests] == sent
    assert [n for n, r in enumerate(web.requests) if "Authorization" in r.headers] == [0]


@pytest.mark.parametrize(
    ("proxy", "message"),
    [
        (
            f"http://user:{SECRET}@127.0.0.1:1",
            "no connection through the proxy http://127.0.0.1:1 (All connection attempts failed)",
        ),
        (
            f"http://user:{SECRET}@127.0.0.1:{{port}}",
            "the proxy http://127.0.0.1:{port} refuses (407 Proxy Authentication Required)",
        ),
        (f"ftp://user:{SECRET}@127.0.0.1", "cannot use the proxy that"),
        (f"http://user:{SECRET}@127.0.0.1:port", "cannot use the proxy that"),
    ],
    ids=["not there", "wrong password", "no HTTP proxy", "no URL"],
)
def test_proxy_that_fails(
    proxy: str, message: str, web: HttpsServer, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the proxy without its password, and its variable."""
    with refusing_proxy() as port:
        monkeypatch.setenv("HTTPS_PROXY", proxy.replace("{port}", str(port)))
        said = refused(signed_file(web))

    assert message.replace("{port}", str(port)) in said
    assert "HTTPS_PROXY" in said
    assert web.requests == []


def test_host_without_proxy(
    web: HttpsServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NO_PROXY is heeded."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    web.answers["/model.onnx"] = [content(BODY)]

    download([signed_file(web)], target, Limits())


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "the certificate is not trusted (unable to get local issuer certificate); if it is"),
        ({"SSL_CERT_FILE": "/absent.pem"}, "cannot read the certificates that SSL_CERT_FILE"),
    ],
    ids=["unknown CA", "no such file"],
)
def test_certificate_that_is_not_trusted(
    variables: dict[str, str],
    message: str,
    web: HttpsServer,
    refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The message says that SSL_CERT_FILE names CAs of one's own; it is tried once."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert message in refused(signed_file(web))
    assert web.requests == []


def test_server_without_tls(web: HttpsServer, refused: Refused) -> None:
    """A port that does not speak TLS is told from one that nobody listens on."""
    with refusing_proxy() as port:
        file = RemoteFile(path="model.onnx", url=f"https://127.0.0.1:{port}/{SIGNED}")
        said = refused(file)

    assert "no TLS connection" in said
    assert web.requests == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (f"http://127.0.0.1/a{SIGNED}", "'model.onnx': http://127.0.0.1/a is not https; give"),
        (f"file:///etc/passwd{SIGNED}", "'model.onnx': file:///etc/passwd is not https; give"),
        (f"https:///a{SIGNED}", "'model.onnx': https:///a is not https; give"),
        (f"https://127.0.0.1:port/{SIGNED}", "'model.onnx': it is no URL; check the address"),
        (f"https://127.0.0.1:1/a{SIGNED}", "no connection (All connection attempts failed), 4"),
    ],
    ids=["http", "file", "no host", "no URL", "nobody listens"],
)
@pytest.mark.usefixtures("web")
def test_address_that_cannot_be_used(url: str, message: str, refused: Refused) -> None:
    """The message names what of the address may be shown."""
    said = refused(RemoteFile(path="model.onnx", url=url))

    assert message in said


@pytest.mark.parametrize("value", [f"{SECRET}\n", f"{SECRET}é"], ids=["line break", "beyond ASCII"])
def test_header_that_cannot_be_sent(value: str, web: HttpsServer, refused: Refused) -> None:
    """The message asks to look at the credentials and does not show them."""
    file = RemoteFile(path="model.onnx", url=web.url("/model.onnx"), headers={"X-Key": value})

    said = refused(file)

    assert "the request cannot be sent; check the credentials for spaces, line breaks" in said


def test_interrupt(web: HttpsServer, target: Path) -> None:
    """Ctrl-C in the middle of a file leaves nothing."""

    def _interrupt(exchange: Exchange) -> None:
        exchange.start(200, Content_Length=len(BODY))
        exchange.wfile.write(BODY[:1000])
        os.kill(os.getpid(), signal.SIGINT)
        silent(exchange)

    web.answers["/model.onnx"] = [_interrupt]

    with pytest.raises(KeyboardInterrupt):
        download([signed_file(web)], target, Limits())
    assert list(target.iterdir()) == []


def test_levels_of_loggers_come_back(web: HttpsServer, target: Path) -> None:
    """What is said of a request is kept from the logs during a download only."""
    logger = logging.getLogger("httpx")
    before = logger.level
    web.answers["/model.onnx"] = [content(BODY)]

    download([signed_file(web)], target, Limits())

    assert logger.level == before


def test_secrets_are_not_shown(web: HttpsServer) -> None:
    """Neither user information, query nor headers are in the repr."""
    assert repr(signed_file(web)) == (
        f"RemoteFile(path='model.onnx', url='https://127.0.0.1:{web.port}/model.onnx', sha256=None)"
    )


@pytest.mark.parametrize(
    ("max_bytes", "timeout_seconds"), [(0, 1), (1, 0), (1, float("nan"))], ids=str
)
def test_limits_that_nothing_can_keep(max_bytes: int, timeout_seconds: float) -> None:
    """A limit is positive."""
    with pytest.raises(ValueError, match="limits must be positive"):
        Limits(max_bytes=max_bytes, timeout_seconds=timeout_seconds)
