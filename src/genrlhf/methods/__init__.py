"""Methods of post-training: each is what it adds to a loop. Names are loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrlhf._lazy import attach

if TYPE_CHECKING:
    from genrlhf.methods.chain_of_hindsight import ChainOfHindsight
    from genrlhf.methods.chain_of_hindsight_sampled import SampledHindsight
    from genrlhf.methods.clip_cov import ClipCov
    from genrlhf.methods.darling import Darling
    from genrlhf.methods.diverse_best_of_n import DiverseBestOfN
    from genrlhf.methods.divpo import DivPO
    from genrlhf.methods.dqo import DQO
    from genrlhf.methods.frequency import Frequency
    from genrlhf.methods.gem import GEM
    from genrlhf.methods.hir import HIR
    from genrlhf.methods.ilf import ILF
    from genrlhf.methods.kl_cov import KLCov
    from genrlhf.methods.mara import MARA
    from genrlhf.methods.method import Method
    from genrlhf.methods.prompt_distillation import SampledPromptDistillation
    from genrlhf.methods.prompt_distillation_given import PromptDistillation
    from genrlhf.methods.registry import METHODS, get_method, method_names
    from genrlhf.methods.rrhf import RRHF
    from genrlhf.methods.spin import SPIN
    from genrlhf.methods.uniqueness import Uniqueness
    from genrlhf.methods.unlikelihood import Unlikelihood

__all__ = [
    "DQO",
    "GEM",
    "HIR",
    "ILF",
    "MARA",
    "METHODS",
    "RRHF",
    "SPIN",
    "ChainOfHindsight",
    "ClipCov",
    "Darling",
    "DivPO",
    "DiverseBestOfN",
    "Frequency",
    "KLCov",
    "Method",
    "PromptDistillation",
    "SampledHindsight",
    "SampledPromptDistillation",
    "Uniqueness",
    "Unlikelihood",
    "get_method",
    "method_names",
]

_HOMES = {
    "ChainOfHindsight": "chain_of_hindsight",
    "ClipCov": "clip_cov",
    "DQO": "dqo",
    "Darling": "darling",
    "DivPO": "divpo",
    "DiverseBestOfN": "diverse_best_of_n",
    "Frequency": "frequency",
    "GEM": "gem",
    "KLCov": "kl_cov",
    "MARA": "mara",
    "HIR": "hir",
    "ILF": "ilf",
    "METHODS": "registry",
    "Method": "method",
    "PromptDistillation": "prompt_distillation_given",
    "RRHF": "rrhf",
    "SPIN": "spin",
    "SampledHindsight": "chain_of_hindsight_sampled",
    "SampledPromptDistillation": "prompt_distillation",
    "Uniqueness": "uniqueness",
    "Unlikelihood": "unlikelihood",
    "get_method": "registry",
    "method_names": "registry",
}

__getattr__, __dir__ = attach(__name__, _HOMES)
