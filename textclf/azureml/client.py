"""Azure ML through Microsoft's SDKs: each call is a worker with a limit on its time."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from textclf.azureml.credentials import AzureCredentials
from textclf.azureml.environment import Sdk, lay_environment
from textclf.azureml.failures import Failure, Workspace, to_error
from textclf.azureml.redaction import redact
from textclf.azureml.supervision import (
    Finished,
    StillRunningError,
    supervise,
)
from textclf.errors import DownloadError
from textclf.termination import ending_on_sigterm

DEFAULT_TIMEOUT_SECONDS = 600.0

_ANSWERS = ('{"result":', '{"error":')
_DOING = {
    "fetch": "find",
    "latest": "find the latest",
    "register": "register",
    "read_endpoint": "read",
    "update_endpoint": "update",
}

_LOGGER = logging.getLogger(__name__)


class SdkClient:
    """One workspace, seen through one SDK.

    The limit on the time counts from the first call, once the SDK's environment is laid; all calls
    share it, and so does whatever the caller does with the answers.
    """

    def __init__(
        self,
        sdk: Sdk,
        workspace: Workspace,
        credentials: AzureCredentials | None,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        self._sdk = sdk
        self._workspace = workspace
        self._credentials = credentials
        self._timeout_seconds = timeout_seconds
        self._deadline: float | None = None
        self._python: Path | None = None

    @property
    def remaining_seconds(self) -> float:
        """What is left of the limit; 0 once it has passed."""
        if self._deadline is None:
            return self._timeout_seconds
        return max(0.0, self._deadline - time.monotonic())

    def fetch(self, name: str, version: str | None) -> dict[str, Any]:
        """Return a model and the URLs of its files.

        Args:
            name: Of the model.
            version: None for the newest.

        Returns:
            ``name``, ``version``, ``tags``, ``properties``, ``created_by``, ``created_at``,
            ``uri``, ``sdk``, and ``files``: ``path``, ``url`` and ``headers`` each, of which the
            latter two are secret.

        Raises:
            AccessError: The identity is not let in, or not that far.
            SourceNotFoundError: There is no such workspace, model or version.
            DownloadError: Azure cannot be reached, or does not answer in time.
        """
        subject = f"model {name}" if version is None else f"model {name}:{version}"
        found: dict[str, Any] = self._call("fetch", subject, name=name, version=version)
        return found

    def latest(self, name: str) -> dict[str, Any] | None:
        """Return what ``fetch`` does of the newest version but its files; None if there is none.

        Raises:
            ModelImportError: As ``fetch``.
        """
        found: dict[str, Any] | None = self._call(
            "latest", f"model {name}", name=name, version=None
        )
        return found

    def register(
        self,
        folder: Path,
        name: str,
        *,
        tags: dict[str, str],
        properties: dict[str, str],
        description: str,
    ) -> dict[str, Any]:
        """Upload a folder as a new version of a model, and return what ``latest`` would then.

        Raises:
            ModelImportError: As ``fetch``; whether the version exists then is not known.
        """
        made: dict[str, Any] = self._call(
            "register",
            f"model {name}",
            name=name,
            version=None,
            folder=str(folder.resolve()),
            tags=tags,
            properties=properties,
            description=description,
        )
        return made

    def read_endpoint(self, name: str) -> dict[str, Any]:
        """Return an endpoint, once no change of it is under way.

        Returns:
            ``state``, and what its workers share traffic by: with SDK v1 ``versions``, each with
            ``traffic_percentile`` and ``is_default``; with v2 ``deployments``, ``traffic`` and
            ``mirror_traffic``.

        Raises:
            ModelImportError: As ``fetch``.
        """
        found: dict[str, Any] = self._call("read_endpoint", f"endpoint {name}", name=name)
        return found

    def update_endpoint(self, name: str, **changes: Any) -> dict[str, Any]:
        """Change an endpoint, wait until that holds, and return what ``read_endpoint`` would then.

        Args:
            name: Of the endpoint.
            **changes: With SDK v1 ``updates``, one after the other: ``version``,
                ``traffic_percentile`` and ``is_default`` each, None for what stays. With v2
                ``traffic`` and ``mirror_traffic``.

        Raises:
            ModelImportError: As ``fetch``; whether anything was changed then is not known.
        """
        made: dict[str, Any] = self._call(
            "update_endpoint", f"endpoint {name}", name=name, **changes
        )
        return made

    def redact(self, text: str) -> str:
        """Return ``text`` without secrets, those in the credentials included."""
        return redact(text, [self._credentials.client_secret] if self._credentials else [])

    def _call(self, action: str, subject: str, **parameters: Any) -> Any:
        request = parameters | {
            "action": action,
            "credentials": self._credentials and asdict(self._credentials),
            "subscription_id": self._workspace.subscription_id,
            "resource_group": self._workspace.resource_group,
            "workspace": self._workspace.name,
        }
        doing = f"{_DOING[action]} {subject} in workspace {self._workspace.name}"
        with ending_on_sigterm():
            answer = self._answer(self._run(request, doing))
        if "error" not in answer:
            return answer["result"]
        error = answer["error"]
        failure = Failure(kind=error["kind"], detail=self.redact(error["detail"]))
        _LOGGER.debug("%s: %s", failure.kind, failure.detail)
        raise to_error(failure, sdk=self._sdk.label, workspace=self._workspace, subject=subject)

    def _run(self, request: dict[str, Any], doing: str) -> Finished:
        self._python = self._python or lay_environment(self._sdk)
        self._deadline = self._deadline or time.monotonic() + self._timeout_seconds
        _LOGGER.info("asking %s to %s", self._sdk.label, doing)
        try:
            return supervise(
                [str(self._python), "-I", str(self._sdk.worker)],
                timeout_seconds=self.remaining_seconds,
                doing=f"waiting for {self._sdk.label}",
                request=json.dumps(request) + "\n",
            )
        except StillRunningError as exc:
            raise DownloadError(
                f"{self._sdk.label} did not {doing} within {self._timeout_seconds:g} seconds and "
                "was stopped; check the network, or allow more with --timeout-seconds"
            ) from exc
        except OSError as exc:
            raise DownloadError(
                f"cannot run the environment of {self._sdk.label}: {exc}; lay it again: uv sync "
                f"--reinstall --script {self._sdk.worker}"
            ) from exc

    def _answer(self, finished: Finished) -> dict[str, Any]:
        lines = [line for line in finished.output.splitlines() if line.startswith(_ANSWERS)]
        if lines and finished.code == 0:
            answer: dict[str, Any] = json.loads(lines[-1])
            return answer
        said = self.redact(finished.errors).strip().splitlines() or ["nothing"]
        raise DownloadError(
            f"{self._sdk.label} ended without an answer (exit code {finished.code}); its last "
            f"words: {said[-1].strip()}; lay its environment again: uv sync --reinstall --script "
            f"{self._sdk.worker}"
        )
