"""Tensors in bytes: little-endian, row by row, with nothing between their elements.

Source: https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol/binary-tensor-data-extension
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

_LENGTH = struct.Struct("<I")


def write_bytes(elements: Iterable[bytes]) -> bytes:
    """Return a tensor of BYTES: each element after its length in 4 bytes."""
    return b"".join(_LENGTH.pack(len(element)) + element for element in elements)


def read_bytes(content: bytes, count: int) -> list[bytes]:
    """Return the ``count`` elements of a tensor of BYTES.

    Raises:
        ValueError: The content is not exactly that many elements.
    """
    elements: list[bytes] = []
    place = 0
    for _ in range(count):
        end = place + _LENGTH.size
        if end > len(content):
            raise ValueError(f"ends before element {len(elements)}")
        (length,) = _LENGTH.unpack_from(content, place)
        place = end + length
        if place > len(content):
            raise ValueError(f"ends within element {len(elements)}")
        elements.append(content[end:place])
    if place < len(content):
        raise ValueError(f"goes on after its {count} elements")
    return elements


def write_fp32(elements: Sequence[float]) -> bytes:
    """Return a tensor of FP32."""
    return struct.pack(f"<{len(elements)}f", *elements)


def write_bool(elements: Iterable[bool]) -> bytes:
    """Return a tensor of BOOL: a byte each."""
    return bytes(elements)
