"""What other tools and genrlhf have in common: files of outputs. Names are loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrlhf._lazy import attach

if TYPE_CHECKING:
    from genrlhf.integrations.loading import OutputsFile, load_outputs

_HOMES = {"OutputsFile": "loading", "load_outputs": "loading"}

__all__ = ["OutputsFile", "load_outputs"]

__getattr__, __dir__ = attach(__name__, _HOMES)
