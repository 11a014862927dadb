"""The address that this process was given to listen on."""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
from contextlib import suppress

_OPEN_FILES = "/dev/fd"


def listening_hosts() -> list[str]:
    """Return the IP addresses of the TCP sockets that this process listens on.

    BentoML's arbiter opens the socket and hands it down, so that neither the settings nor ASGI know
    of it; where the system does not show its open files there is none.
    """
    hosts = []
    with suppress(OSError):
        for name in os.listdir(_OPEN_FILES):  # noqa: PTH208 - numbers, not paths
            with suppress(OSError):
                if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                    hosts += _host(os.dup(int(name)))
    return hosts


def _host(descriptor: int) -> list[str]:
    with socket.socket(fileno=descriptor) as opened:
        internet = opened.family in {socket.AF_INET, socket.AF_INET6}
        if internet and opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return [str(opened.getsockname()[0])]
    return []


def is_public(host: str) -> bool:
    """Say whether others than this machine can reach an address."""
    return not ipaddress.ip_address(host).is_loopback
