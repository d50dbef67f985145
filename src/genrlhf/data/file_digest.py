"""What tells one file from another of its name."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["file_digest"]

BLOCKS = 512
BLOCK_BYTES = 4096


def file_digest(file: Path) -> str:
    """Return a digest of a file's size and of 512 evenly spaced blocks of 4 KiB: all of a file below 2 MiB."""
    size = file.stat().st_size
    digest = hashlib.sha256(f"{size}:".encode())
    with file.open("rb") as data:
        if size <= BLOCKS * BLOCK_BYTES:
            digest.update(data.read())
        else:
            for block in range(BLOCKS):
                data.seek((size - BLOCK_BYTES) * block // (BLOCKS - 1))
                digest.update(data.read(BLOCK_BYTES))
    return digest.hexdigest()[:16]
