"""What a worker's failure means, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from textclf.errors import AccessError, DownloadError, ModelImportError, SourceNotFoundError

_RESET = (
    "make a new one with az ad sp credential reset --id CLIENT_ID and set AZURE_CREDENTIALS to it"
)
_SIGN_IN = {
    "AADSTS7000215": "the secret is wrong: its ID is often pasted in place of its value; " + _RESET,
    "AADSTS7000222": "the secret has expired; " + _RESET,
    "AADSTS700016": "its clientId is not in its tenant; check both in AZURE_CREDENTIALS",
    "AADSTS90002": "its tenant does not exist; check tenantId in AZURE_CREDENTIALS",
}


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """A workspace of Azure ML.

    Attributes:
        subscription_id: None for the one that ``az`` is set to.
    """

    name: str
    resource_group: str
    subscription_id: str | None

    def __str__(self) -> str:
        """Return where it is, as messages say it."""
        subscription = self.subscription_id or "that az is set to"
        return f"{self.name} in resource group {self.resource_group}, subscription {subscription}"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What a worker says instead of a result; free of secrets.

    Attributes:
        kind: What was missing, refused or broken.
        detail: A code, a host or a sentence.
    """

    kind: str
    detail: str


def to_error(failure: Failure, *, sdk: str, workspace: Workspace, subject: str) -> ModelImportError:
    """Return the error to raise.

    Args:
        failure: What the worker says.
        sdk: Library and version that it ran.
        workspace: Where it looked.
        subject: What it was asked about, such as ``model demo:1``.
    """
    match failure.kind:
        case "credentials" | "no-credentials" | "no-subscription" | "subscription":
            return AccessError(_unknown(failure, workspace))
        case "forbidden":
            return AccessError(_forbidden(failure, workspace, subject))
        case "workspace" | "model" | "files" | "endpoint":
            return SourceNotFoundError(_missing(failure, workspace, subject))
        case "conflict" | "invalid":
            return DownloadError(_refused(failure, workspace, subject))
        case _:
            return DownloadError(_unreachable(failure, sdk, workspace, subject))


def _unknown(failure: Failure, workspace: Workspace) -> str:
    if failure.kind == "subscription":
        return (
            f"subscription {workspace.subscription_id or 'of az'} is not there, or not visible to "
            "this identity; check --subscription-id and what az account list shows, or give the "
            "identity a role there"
        )
    if failure.kind == "no-credentials":
        return (
            "AZURE_CREDENTIALS is not set, and neither az login nor a managed identity gives a "
            "token; set it to what az ad sp create-for-rbac --json-auth prints, or run az login"
        )
    if failure.kind == "no-subscription":
        return "no subscription is known; give --subscription-id, or choose one with az account set"
    remedy = _SIGN_IN.get(failure.detail, "check AZURE_CREDENTIALS, or run az login again")
    return f"Azure refuses to sign this identity in ({failure.detail}): {remedy}"


def _forbidden(failure: Failure, workspace: Workspace, subject: str) -> str:
    what, _, status = failure.detail.partition(" ")
    scope = (
        f"/subscriptions/{workspace.subscription_id or 'ID'}"
        f"/resourceGroups/{workspace.resource_group}"
        f"/providers/Microsoft.MachineLearningServices/workspaces/{workspace.name}"
    )
    if what == "files":
        return (
            f"the storage account of workspace {workspace} refuses the files of {subject} "
            f"({status}); give this identity the role Storage Blob Data Reader there, or Storage "
            "Blob Data Contributor to register, and see that the datastore's key is in force"
        )
    within = f"{subject} in " if what in {"model", "endpoint"} else ""
    return (
        f"{within}workspace {workspace} is refused ({status}); give this identity the role AzureML "
        'Data Scientist: az role assignment create --role "AzureML Data Scientist" '
        f"--assignee CLIENT_ID --scope {scope}"
    )


def _missing(failure: Failure, workspace: Workspace, subject: str) -> str:
    options = f"--workspace-name {workspace.name} --resource-group {workspace.resource_group}"
    match failure.kind:
        case "workspace":
            return (
                f"there is no workspace {workspace}; check the names: az ml workspace list "
                f"--resource-group {workspace.resource_group} shows those there are"
            )
        case "model":
            return (
                f"there is no {subject} in workspace {workspace}; az ml model list --name "
                f"{subject.rpartition(' ')[2].partition(':')[0]} {options} shows its versions"
            )
        case "endpoint":
            return (
                f"there is no {subject} in workspace {workspace}; the Azure ML studio lists those "
                "there are under Endpoints"
            )
        case _:
            return f"the files of {subject} in workspace {workspace} are gone; register it again"


def _refused(failure: Failure, workspace: Workspace, subject: str) -> str:
    if failure.kind == "conflict":
        return (
            f"{subject} in workspace {workspace} is being changed by someone else; wait until that "
            "is done, and retry"
        )
    return (
        f"Azure refuses what was asked of {subject} in workspace {workspace}: {failure.detail}; "
        "see in the Azure ML studio what is there"
    )


def _unreachable(failure: Failure, sdk: str, workspace: Workspace, subject: str) -> str:
    match failure.kind:
        case "proxy":
            return (
                f"cannot reach Azure through the proxy {failure.detail}; check HTTPS_PROXY, and "
                "that the proxy lets login.microsoftonline.com and management.azure.com through"
            )
        case "tls":
            return (
                "the certificate of Azure cannot be verified; if a proxy inspects TLS, name its "
                "CA bundle in both REQUESTS_CA_BUNDLE and SSL_CERT_FILE"
            )
        case "network":
            host = failure.detail or "Azure"
            return f"cannot reach {host}; check the network and HTTPS_PROXY, and retry"
        case "busy":
            return (
                f"Azure answers {failure.detail} for workspace {workspace} again and again; retry"
            )
        case _:
            return (
                f"{sdk} failed on workspace {workspace}: {failure.detail}; retry, and if that "
                f"does not help see whether the Azure ML studio shows {subject}"
            )
