"""What a folder that was fetched holds, and which of it is the model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from textclf.artifact import DESCRIPTION, hash_file
from textclf.errors import SourceNotFoundError, UntrustedContentError
from textclf.sources.paths import fault

GRAPH_SUFFIX = ".onnx"
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
_MOST_NAMES = 10


def find_model(folder: Path, model_path: str | None = None) -> Path:
    """Return the classifier folder or the ONNX graph in a folder that was fetched.

    Args:
        folder: Not trusted.
        model_path: The one to take, relative to ``folder``; by default the only one.

    Raises:
        SourceNotFoundError: There is none, or more than one; the message says what there is.
        UntrustedContentError: There is a link or a special file, or the graph is empty.
    """
    files = _regular_files(folder)
    model = folder
    if model_path is not None:
        model = _inside(folder, model_path, files)
    elif not (folder / DESCRIPTION).is_file():
        model = _without_wrapping(folder)
    if model.is_dir() and not (model / DESCRIPTION).is_file():
        below = [path for path in files if (folder / path).is_relative_to(model)]
        where = f"{model_path!r} in the model" if model_path else "the model"
        model = folder / choose_graph(below, where)
    if model.is_file() and not model.stat().st_size:
        raise UntrustedContentError(
            f"{_show(model.relative_to(folder).as_posix())} is empty; register the model again"
        )
    return model


def choose_graph(paths: Sequence[str], where: str, how: str = "name one with --model-path") -> str:
    """Return the only ONNX graph among ``paths``.

    Args:
        paths: Of files, ``/`` between their parts.
        where: What messages call the place that they are in.
        how: What to do where there are several.

    Raises:
        SourceNotFoundError: There is none, or more than one.
    """
    graphs = sorted(path for path in paths if path.lower().endswith(GRAPH_SUFFIX))
    if len(graphs) == 1:
        return graphs[0]
    if graphs:
        raise SourceNotFoundError(f"{where} holds several graphs ({_list(graphs)}); {how}")
    archives = [path for path in paths if path.lower().endswith(_ARCHIVES)]
    if archives:
        raise SourceNotFoundError(
            f"{where} holds no {GRAPH_SUFFIX} file but {_list(archives)}, and archives are not "
            "unpacked; give the files that are in it, or register those"
        )
    only = f"only {_list(sorted(paths))}" if paths else "nothing at all"
    raise SourceNotFoundError(
        f"{where} holds neither a {DESCRIPTION} nor an {GRAPH_SUFFIX} file, {only}; give the path "
        "of one"
    )


def check_sha256(path: Path, expected: str, *, said_by: str) -> None:
    """Refuse a file that is not the one that was promised.

    Args:
        path: Of the file.
        expected: The sha256, in hexadecimal.
        said_by: Who states it, such as ``--sha256`` or ``the registry``.

    Raises:
        UntrustedContentError: Names both hashes.
    """
    actual = hash_file(path)
    if actual != expected.lower():
        raise UntrustedContentError(
            f"{_show(path.name)} has the sha256 {actual}, but {said_by} says {expected.lower()}; "
            "find out which of the two is right before a retry"
        )


def _regular_files(folder: Path) -> list[str]:
    """Return the path of every file; a link could lead anywhere, a pipe would never end."""
    files = []
    for entry in _entries(folder):
        path = Path(entry.path).relative_to(folder).as_posix()
        if entry.is_symlink():
            raise UntrustedContentError(
                f"{_show(path)} is a symbolic link; register the file itself in its place"
            )
        if entry.is_file(follow_symlinks=False):
            files.append(path)
        elif not entry.is_dir(follow_symlinks=False):
            raise UntrustedContentError(
                f"{_show(path)} is no regular file; register the model without it"
            )
    return files


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    waiting = [os.fspath(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        yield from found
        waiting += [entry.path for entry in found if entry.is_dir(follow_symlinks=False)]


def _inside(folder: Path, model_path: str, files: Sequence[str]) -> Path:
    reason = fault(model_path.rstrip("/"))
    if reason:
        raise SourceNotFoundError(
            f"--model-path {model_path!r} {reason}; give a path as the model has it, such as "
            f"{_list(files[:1])}"
        )
    path = folder / model_path
    if not path.exists():
        raise SourceNotFoundError(
            f"there is no {model_path!r} in the model; it holds {_list(files)}"
        )
    if path.is_file() and path.suffix.lower() != GRAPH_SUFFIX:
        raise SourceNotFoundError(
            f"--model-path {model_path!r} is no {GRAPH_SUFFIX} file; the model holds {_list(files)}"
        )
    return path


def _without_wrapping(folder: Path) -> Path:
    """Go down while one folder holds everything; stop where there is a choice."""
    inner = folder
    while not (inner / DESCRIPTION).is_file():
        entries = list(inner.iterdir())
        if len(entries) != 1 or not entries[0].is_dir():
            return folder
        inner = entries[0]
    return inner


def _list(paths: Sequence[str]) -> str:
    names = [_show(path) for path in paths[:_MOST_NAMES]]
    more = len(paths) - len(names)
    return ", ".join([*names, f"{more} more"] if more else names) or "nothing"


def _show(path: str) -> str:
    return path if path.isprintable() else ascii(path)
