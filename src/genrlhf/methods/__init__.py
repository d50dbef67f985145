"""Methods of post-training: each is what it adds to a loop. Names are loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrlhf._lazy import attach

if TYPE_CHECKING:
    from genrlhf.methods.divpo import DivPO
    from genrlhf.methods.gem import GEM
    from genrlhf.methods.method import Method
    from genrlhf.methods.registry import METHODS, get_method, method_names
    from genrlhf.methods.rrhf import RRHF
    from genrlhf.methods.spin import SPIN

__all__ = ["GEM", "METHODS", "RRHF", "SPIN", "DivPO", "Method", "get_method", "method_names"]

_HOMES = {
    "GEM": "gem",
    "METHODS": "registry",
    "RRHF": "rrhf",
    "SPIN": "spin",
    "DivPO": "divpo",
    "Method": "method",
    "get_method": "registry",
    "method_names": "registry",
}

__getattr__, __dir__ = attach(__name__, _HOMES)
