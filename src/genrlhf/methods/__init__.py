"""Methods of post-training: each is what it adds to a loop. Names are loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrlhf._lazy import attach

if TYPE_CHECKING:
    from genrlhf.methods.gem import GEM

__all__ = ["GEM"]

_HOMES = {"GEM": "gem"}

__getattr__, __dir__ = attach(__name__, _HOMES)
