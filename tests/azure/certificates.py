"""A throwaway authority, and a certificate of Azure's host names that it signed."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

HOSTS = (
    "login.microsoftonline.com",
    "management.azure.com",
    "*.api.azureml.ms",
    "*.blob.core.windows.net",
)
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "2")


@dataclass(frozen=True)
class Certificates:
    """Files that the openssl command wrote.

    Attributes:
        authority: What a client has to trust.
        leaf: What a server shows.
        key: The private key of the leaf.
    """

    authority: Path
    leaf: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """Return what a server wraps its sockets with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.leaf, self.key)
        return context


def write_certificates(folder: Path) -> Certificates:
    """Write an authority and a leaf into ``folder``; both are valid for two days."""
    authority, authority_key = folder / "authority.pem", folder / "authority.key"
    leaf, key = folder / "leaf.pem", folder / "leaf.key"
    names = ",".join([*(f"DNS:{host}" for host in HOSTS), "IP:127.0.0.1"])
    _openssl(authority, authority_key, "/CN=Azure stand-in authority", "keyUsage=keyCertSign")
    _openssl(
        leaf,
        key,
        "/CN=Azure stand-in",
        f"subjectAltName={names}",
        "basicConstraints=critical,CA:FALSE",
        signer=(authority, authority_key),
    )
    return Certificates(authority, leaf, key)


def _openssl(
    certificate: Path,
    key: Path,
    subject: str,
    *extensions: str,
    signer: tuple[Path, Path] | None = None,
) -> None:
    command = ["openssl", "req", "-x509", *_NEW_KEY, "-subj", subject]
    command += ["-out", str(certificate), "-keyout", str(key)]
    for extension in extensions:
        command += ["-addext", extension]
    if signer:
        command += ["-CA", str(signer[0]), "-CAkey", str(signer[1])]
    subprocess.run(command, check=True, capture_output=True)
