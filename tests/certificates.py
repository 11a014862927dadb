"""A throwaway authority, and a certificate that it signed; needs the openssl command."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")


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


def write_certificates(folder: Path, *hosts: str) -> Certificates:
    """Write an authority and a leaf for these hosts and 127.0.0.1; both last for two days."""
    authority, authority_key = folder / "authority.pem", folder / "authority.key"
    leaf, key = folder / "leaf.pem", folder / "leaf.key"
    names = ",".join([*(f"DNS:{host}" for host in hosts), "IP:127.0.0.1"])
    _openssl(
        *("-subj", "/CN=throwaway authority", "-addext", "keyUsage=keyCertSign"),
        *("-keyout", authority_key, "-out", authority),
    )
    _openssl(
        *("-subj", "/CN=127.0.0.1", "-CA", authority, "-CAkey", authority_key),
        *("-addext", f"subjectAltName={names}"),
        *("-addext", "basicConstraints=critical,CA:FALSE"),
        *("-keyout", key, "-out", leaf),
    )
    return Certificates(authority, leaf, key)


def _openssl(*arguments: str | Path) -> None:
    command = ["openssl", "req", "-x509", *_NEW_KEY, *arguments]
    subprocess.run(command, check=True, capture_output=True)
