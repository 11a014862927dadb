"""Models that were exported to ONNX and lie on the Hugging Face hub, or in a folder like there."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import ClassVar, Self

import huggingface_hub as hub
from huggingface_hub import constants, errors
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined] # public in its documentation

from textclf.errors import AccessError, DownloadError, ModelImportError, SourceNotFoundError
from textclf.sources.contents import GRAPH_SUFFIX, choose_graph
from textclf.sources.download import RemoteFile, download, without_request_logs
from textclf.sources.http_faults import place_of
from textclf.sources.limits import Limits
from textclf.sources.source import FetchedModel, model_name
from textclf.tokenizer_conversion import HUB_FILES, has_tokenizer

_HTTP_ERROR: type[Exception] = errors.HTTPError  # type: ignore[attr-defined] # httpx's or httpx2's
_COMMIT_DIGITS = 12
_LISTING_SECONDS = 30.0


@dataclass(frozen=True)
class HuggingFaceSource:
    """A repository of the hub, or a folder that holds the same files.

    Attributes:
        model: Such as ``org/name``, or a folder.
        revision: Branch, tag or commit; the hub's default is ``main``.
        model_path: Of the graph, where there are several.
        limits: On the download.
    """

    summary: ClassVar[str] = "an ONNX export on the Hugging Face hub, or in a folder"

    model: str
    revision: str | None = None
    model_path: str | None = None
    limits: Limits = field(default_factory=Limits)

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Ask for the repository, and what in it is meant."""
        parser.add_argument(
            "model", metavar="ID_OR_FOLDER", help="id such as org/name, or folder of an export"
        )
        parser.add_argument("--revision", help="branch, tag or commit (default: main)")
        parser.add_argument(
            "--model-path",
            metavar="PATH",
            help="graph in the repository, such as onnx/model.onnx (default: the only one)",
        )
        Limits.add_arguments(parser)

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> Self:
        """Build the source that the command line asks for."""
        limits = Limits.from_arguments(arguments)
        return cls(arguments.model, arguments.revision, arguments.model_path, limits)

    def fetch(self, target: Path) -> FetchedModel:
        """Find the graph in a folder, or download it with its tokenizer.

        Raises:
            AccessError: The hub refuses the token, or the model's conditions are not accepted.
            SourceNotFoundError: There is no such model, revision or graph, or more than one graph.
            DownloadError: The hub cannot be reached, or would send too much or too slowly.
            UntrustedContentError: A file is not the one that the hub states.
        """
        folder = Path(self.model)
        return self._find(folder.absolute()) if folder.is_dir() else self._download(target)

    def _find(self, folder: Path) -> FetchedModel:
        if self.revision is not None:
            raise SourceNotFoundError(
                f"{self.model} is a folder here and has no revisions; leave out --revision, or run "
                "this where there is no such folder"
            )
        files = sorted(
            path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
        )
        # Not resolved: in the hub's cache each file is a link to one that is named by its hash.
        path = folder / self._choose(files)
        return FetchedModel(
            path=path,
            tokenizer=_tokenizer(folder, path),
            source="huggingface",
            uri=path.as_uri(),
            name=model_name(folder.name) or "model",
            version="1",
        )

    def _download(self, target: Path) -> FetchedModel:
        with without_request_logs(), _hub_failures(self.model, self.revision):
            info = hub.HfApi().model_info(
                self.model,
                revision=self.revision,
                files_metadata=True,
                timeout=min(_LISTING_SECONDS, self.limits.timeout_seconds),
            )
            commit = str(info.sha)
            headers = build_hf_headers()
        siblings = info.siblings or []
        graph = self._choose(sorted(file.rfilename for file in siblings))
        wanted = [file for file in siblings if _is_wanted(file.rfilename, file.size, graph)]
        self._check_size(sum(file.size or 0 for file in wanted))
        files = [
            RemoteFile(
                path=file.rfilename,
                url=hub.hf_hub_url(self.model, file.rfilename, revision=commit),
                headers=headers,
                sha256=file.lfs.sha256 if file.lfs else None,
            )
            for file in wanted
        ]
        try:
            download(files, target, self.limits)
        except AccessError as exc:
            raise AccessError(f"{exc}; {_access_remedy(self.model)}") from exc
        return FetchedModel(
            path=target / graph,
            tokenizer=_tokenizer(target, target / graph),
            source="huggingface",
            uri=place_of(hub.hf_hub_url(self.model, graph, revision=commit)),
            name=model_name(self.model.rpartition("/")[2]) or "model",
            version=commit[:_COMMIT_DIGITS],
            sdk=f"huggingface_hub {hub.__version__}",
            registered_by=info.author,
            registered_at=_in_utc(info.last_modified) if info.last_modified else None,
        )

    def _choose(self, files: Sequence[str]) -> str:
        if self.model_path is None:
            return choose_graph(files, self.model)
        if self.model_path in files and self.model_path.lower().endswith(GRAPH_SUFFIX):
            return self.model_path
        below = [path for path in files if path.startswith(f"{self.model_path.rstrip('/')}/")]
        return choose_graph(below, f"{self.model_path!r} in {self.model}")

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self.limits.max_bytes:
            raise DownloadError(
                f"the files of {self.model} have {size_bytes} bytes, more than the "
                f"{self.limits.max_bytes} of --max-bytes; allow more, or name a smaller graph with "
                "--model-path"
            )


def _is_wanted(path: str, size_bytes: int | None, graph: str) -> bool:
    """Say whether a file is the graph, weights of it, or may be its tokenizer or configuration."""
    folder, name = PurePosixPath(path).parent, PurePosixPath(path).name
    beside = folder == PurePosixPath(graph).parent
    if beside and path.startswith(graph):  # model.onnx_data and model.onnx.data too
        return True
    near = beside or folder == PurePosixPath()
    return near and name in HUB_FILES and size_bytes != 0


def _in_utc(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds")


def _tokenizer(folder: Path, graph: Path) -> Path | None:
    return next((place for place in (graph.parent, folder) if has_tokenizer(place)), None)


@contextmanager
def _hub_failures(model: str, revision: str | None) -> Iterator[None]:
    """Translate what the hub's client raises; its own texts are long and hold addresses."""
    try:
        yield
    except errors.HFValidationError as exc:
        raise SourceNotFoundError(
            f"{model!r} is neither a folder here nor an id such as org/name; check the spelling"
        ) from exc
    except errors.OfflineModeIsEnabled as exc:
        raise DownloadError(
            f"{model} cannot be looked up while HF_HUB_OFFLINE is set; unset it, or give a folder"
        ) from exc
    except errors.HfHubHTTPError as exc:
        raise _refusal(exc, model, revision) from exc
    except (_HTTP_ERROR, OSError, ValueError, KeyError, TypeError) as exc:
        raise DownloadError(
            f"cannot look up {model} at {_place()} ({type(exc).__name__}); check the network, "
            "HF_ENDPOINT, HTTPS_PROXY, and for a CA of your own SSL_CERT_FILE"
        ) from exc


def _refusal(exc: errors.HfHubHTTPError, model: str, revision: str | None) -> ModelImportError:
    status = exc.response.status_code
    if isinstance(exc, errors.RevisionNotFoundError):
        return SourceNotFoundError(
            f"{model} has no revision {revision}; give a branch, tag or commit that "
            f"{_place(model)} shows"
        )
    if isinstance(exc, errors.GatedRepoError):
        return AccessError(f"{model} is gated; {_access_remedy(model)}")
    if isinstance(exc, errors.RepositoryNotFoundError) or status == 404:
        return SourceNotFoundError(
            f"there is no folder {model} here, and at {_place()} no such model or only a private "
            "one; check the spelling, or set HF_TOKEN to a token that may read it"
        )
    if status in {401, 403}:
        return AccessError(f"{_place()} answers {status} for {model}; {_access_remedy(model)}")
    return DownloadError(f"{_place()} answers {status} for {model}; retry later")


def _access_remedy(model: str) -> str:
    return f"accept its conditions at {_place(model)}, and set HF_TOKEN to a token that may read it"


def _place(path: str = "") -> str:
    return place_of(f"{constants.ENDPOINT}/{path}").rstrip("/")
