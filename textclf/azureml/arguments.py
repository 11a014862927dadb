"""What every command that speaks to Azure ML asks for: a workspace, and names as Azure has them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable

from textclf.azureml.credentials import AzureCredentials
from textclf.azureml.failures import Workspace
from textclf.errors import AccessError

NAME = r"[A-Za-z0-9][\w.-]{0,254}"


def add_workspace_arguments(parser: argparse.ArgumentParser) -> None:
    """Ask for a workspace."""
    parser.add_argument("--workspace", type=matching(NAME, "a workspace"), required=True)
    parser.add_argument(
        "--resource-group", type=matching(r"[\w.()-]{1,90}", "a resource group"), required=True
    )
    parser.add_argument(
        "--subscription-id",
        type=matching(NAME, "a subscription's ID"),
        metavar="ID",
        help="(default: what AZURE_CREDENTIALS says, else what az is set to)",
    )


def read_workspace(
    arguments: argparse.Namespace, credentials: AzureCredentials | None
) -> Workspace:
    """Return the workspace that the command line names.

    Raises:
        AccessError: Neither it nor the credentials name a subscription.
    """
    subscription_id = arguments.subscription_id
    if subscription_id is None and credentials is not None:
        subscription_id = credentials.subscription_id
        if subscription_id is None:
            raise AccessError("AZURE_CREDENTIALS names no subscription; give --subscription-id")
    return Workspace(
        name=arguments.workspace,
        resource_group=arguments.resource_group,
        subscription_id=subscription_id,
    )


def matching(pattern: str, what: str) -> Callable[[str], str]:
    """Return an argument's type: a text that all of ``pattern`` matches, else it is refused."""

    def _check(text: str) -> str:
        if not re.fullmatch(pattern, text, re.ASCII):
            raise argparse.ArgumentTypeError(f"{text!r} cannot be {what}")
        return text

    return _check
