"""The folder of an nginx: what cannot be read or written is named, and its log is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from textclf.errors import TrafficError
from textclf.rollout.traffic import Weights
from textclf.rollout.traffic.nginx import Nginx
from textclf.rollout.traffic.nginx_config import Site, Upstreams
from textclf.rollout.traffic.nginx_folder import Folder

UPSTREAMS = Upstreams(stable="http://127.0.0.1:9")


def test_what_stays_is_kept(tmp_path: Path) -> None:
    """What was written is read, and a member that is new since has its default."""
    folder = Folder(tmp_path)
    site = Site(listen="0.0.0.0:80", keepalive_seconds=75, workers="2")
    folder.write_site(site)

    assert folder.read_site() == site
    (tmp_path / "site.json").write_text('{"listen": "127.0.0.1:80"}')
    assert folder.read_site() == Site(listen="127.0.0.1:80")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, r"site\.json is missing; name the folder .* --nginx-folder"),
        ("{", r"site\.json: the file: .* start nginx in an empty folder"),
        ('{"status_port": "80"}', r"site\.json: status_port: .* valid integer"),
        ('{"port": 80}', r"site\.json: port: "),
    ],
    ids=["missing", "no JSON", "a wrong type", "an unknown member"],
)
def test_a_folder_that_says_nothing_is_told(
    content: str | None, words: str, tmp_path: Path
) -> None:
    """Neither to read nor to move is anything made up about where clients come in."""
    if content is not None:
        (tmp_path / "site.json").write_text(content)
    nginx = Nginx(tmp_path, UPSTREAMS)

    for work in (nginx.read, lambda: nginx.move(Weights())):
        with pytest.raises(TrafficError, match=words):
            work()


def occupy(path: Path) -> None:
    """Let a folder be where a file should."""
    path.mkdir(parents=True)


def fill(path: Path) -> None:
    """Let a file be on a disk that is full."""
    path.symlink_to("/dev/full")


@pytest.mark.parametrize(
    ("name", "spoil", "work"),
    [
        ("site.json", occupy, lambda folder: folder.read_site()),
        ("site.json.next", fill, lambda folder: folder.write_site(Site())),
        ("site.json", occupy, lambda folder: folder.write_site(Site())),
        ("nginx.conf.next", fill, lambda folder: folder.write_next("x")),
        ("nginx.conf.next", occupy, lambda folder: folder.drop_next()),
        ("nginx.conf", occupy, lambda folder: folder.holds("x")),
        ("nginx.conf", occupy, lambda folder: folder.take_next()),
        ("nginx.conf", lambda _: None, lambda folder: folder.take_previous()),
        ("access.log", lambda _: None, lambda folder: folder.count_passed_over()),
    ],
)
def test_what_the_file_system_refuses_is_an_error_of_traffic(
    name: str, spoil: Callable[[Path], None], work: Callable[[Folder], object], tmp_path: Path
) -> None:
    """So that a rollout takes it as it takes any engine that fails; the message has the file."""
    spoil(tmp_path / name)

    with pytest.raises(TrafficError, match=rf"{tmp_path}/{name}: [A-Z].*; see that the disk"):
        work(Folder(tmp_path))


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """Where its parent is no folder."""
    (tmp_path / "file").touch()

    with pytest.raises(TrafficError, match="file/nginx: Not a directory"):
        Nginx(tmp_path / "file" / "nginx", UPSTREAMS).prepare(Site())


def log_line(version: str, *addresses: str, status: int = 502) -> str:
    """Return what nginx logs of a request that the last of several versions answered."""
    asked = ", ".join(addresses)
    statuses = ", ".join([str(status)] * (len(addresses) - 1) + ["200"])
    return f"2026-01-01T00:00:00+00:00 an-id {version} {asked} {statuses} 200 0.010\n"


A, B, C = "10.0.0.1:3000", "[::1]:3001", "10.0.0.3:3000"


def test_requests_that_another_version_answered_are_counted(tmp_path: Path) -> None:
    """Each line once, of the version that the request was for, when it is whole."""
    log = tmp_path / "access.log"
    folder = Folder(tmp_path)
    passed = log_line("candidate", A, B)
    log.write_text(log_line("candidate", A) + passed + log_line("stable", B, C, A) + passed[:-9])
    first = folder.count_passed_over()
    with log.open("a") as file:
        file.write(passed[-9:] + log_line("stable", "-") + "torn, by a full disk\n")
        # It gave this 503 itself, and counted it.
        file.write(log_line("candidate", A, B, status=503))

    assert first == Counter(candidate=1, stable=1)
    assert folder.count_passed_over() == Counter(candidate=2, stable=1)
    assert folder.count_passed_over() == Counter(candidate=2, stable=1)


def test_a_log_that_is_cut_short_is_read_anew(tmp_path: Path) -> None:
    """Counts never fall while a process reads them."""
    log, folder = tmp_path / "access.log", Folder(tmp_path)
    log.write_text(log_line("candidate", A, B) * 3)
    folder.count_passed_over()
    log.write_text(log_line("candidate", A, B))

    assert folder.count_passed_over() == Counter(candidate=4)
