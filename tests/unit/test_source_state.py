"""What a clone says of itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from textclf.errors import SourceStateError
from textclf.image.source_state import public_url, read_source_state


def git(folder: Path, *arguments: str) -> str:
    """Run git as somebody with a name."""
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with one commit and no tag."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / "service.py").write_text("")
    (tmp_path / ".gitignore").write_text("ignored\n")
    commit(tmp_path)
    return tmp_path


def commit(folder: Path) -> None:
    """Commit everything, or nothing."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message=as it stands")


def test_a_tag_names_the_version(clone: Path) -> None:
    """On a tag the version is the tag's, after it it counts commits and names the last."""
    untagged = read_source_state(clone)
    git(clone, "tag", "v0.3.1")
    git(clone, "tag", "weekly")
    tagged = read_source_state(clone)
    commit(clone)
    later = read_source_state(clone)
    short = git(clone, "rev-parse", "--short", "HEAD")

    assert untagged.url == clone.as_uri()
    assert untagged.version == f"0.0.0-1-g{untagged.revision[:7]}"
    assert tagged.version == "0.3.1"
    assert later.version == f"0.3.1-1-g{short}"
    assert later.revision == git(clone, "rev-parse", "HEAD")
    assert int(later.committed_at.timestamp()) == int(git(clone, "log", "-1", "--format=%ct"))


@pytest.mark.parametrize("changed", ["service.py", "new.py"], ids=["changed", "untracked"])
def test_what_no_commit_holds_is_refused(clone: Path, changed: str) -> None:
    """The message names the file; whoever wants the image gets it named so."""
    (clone / changed).write_text("more")

    with pytest.raises(SourceStateError, match=rf"no commit holds: {changed}; commit them"):
        read_source_state(clone)
    assert read_source_state(clone, allow_dirty=True).version.endswith("-dirty")


def test_many_changes_are_counted(clone: Path) -> None:
    """A message is read in one go."""
    for number in range(8):
        (clone / f"{number}.py").write_text("")

    with pytest.raises(SourceStateError, match=r"0\.py, .*, 4\.py and 3 more; commit"):
        read_source_state(clone)


def test_ignored_files_are_no_changes(clone: Path) -> None:
    """What git ignores is in no image's name."""
    (clone / "ignored").write_text("")

    assert not read_source_state(clone).version.endswith("-dirty")


def test_a_folder_that_is_no_clone(tmp_path: Path) -> None:
    """Without a commit there is nothing to name an image after."""
    with pytest.raises(SourceStateError, match="build in a clone"):
        read_source_state(tmp_path)


@pytest.mark.parametrize(
    ("remote", "url"),
    [
        ("https://example.com/a/b.git", "https://example.com/a/b.git"),
        ("https://user:PLANTED@example.com:8443/a/b", "https://example.com:8443/a/b"),
        ("git@example.com:a/b.git", "https://example.com/a/b.git"),
        ("ssh://git@example.com:22/a/b", "https://example.com/a/b"),
        ("file:///srv/a", "file:///srv/a"),
        ("/srv/a", "file:///srv/a"),
    ],
    ids=["https", "credentials", "scp", "ssh", "file", "path"],
)
def test_public_url(remote: str, url: str) -> None:
    """Nobody's name or password gets into a label."""
    assert public_url(remote) == url
