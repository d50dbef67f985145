"""What genrlhf does for other tools: it reads their files, and calls back from their trainers.

Names are loaded when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrlhf._lazy import attach

if TYPE_CHECKING:
    from genrlhf.integrations.diversity_callback import DiversityCallback
    from genrlhf.integrations.loading import OutputsFile, load_outputs

_HOMES = {"DiversityCallback": "diversity_callback", "OutputsFile": "loading", "load_outputs": "loading"}

__all__ = ["DiversityCallback", "OutputsFile", "load_outputs"]

__getattr__, __dir__ = attach(__name__, _HOMES)
