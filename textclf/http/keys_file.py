"""The file that keys are read from, at the start and again whenever it changes."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from textclf.errors import SettingsError
from textclf.http.keys import KeyRing, parse_keys, read_keys_file
from textclf.metrics import metrics

_LOOK_SECONDS = 1.0
_LOGGER = logging.getLogger("textclf.keys")


class KeysFile:
    """Keeps a ring of keys as the file has them.

    Its content is compared, not its time: that is as cheap for so small a file, and true as well of
    a Kubernetes secret, whose files are links that are turned to another folder, and of two changes
    within one tick of the file system's clock.

    Attributes:
        ring: The keys of the file as it was last without a fault.
    """

    def __init__(self, path: Path, *, shared: Path | None = None) -> None:
        """Read the file.

        Raises:
            SettingsError: It cannot be used.
        """
        self._path = path
        self._content = read_keys_file(path)
        self.ring = KeyRing(parse_keys(self._content, path), shared=shared)
        self._fault = ""

    async def watch(self) -> None:
        """Look each second whether the file has changed; until cancelled."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(_LOOK_SECONDS)

    def look(self) -> None:
        """Take the keys of a file that has changed; one that cannot be used changes nothing."""
        try:
            content = read_keys_file(self._path)
            if content != self._content:
                keys = parse_keys(content, self._path)
                self.ring.replace(keys)
                self._content = content
                _LOGGER.info("the keys file has changed and is in force", extra={"keys": len(keys)})
            fault = ""
        except SettingsError as exc:
            fault = str(exc)
        if fault and fault != self._fault:
            _LOGGER.error("%s; until it is mended the keys of before stay in force", fault)
        elif self._fault and not fault:
            _LOGGER.info("the keys file can be used again")
        self._fault = fault
        metrics().keys_file_broken.set(bool(fault))
