"""What is known of model families, in the only place that names them.

Everything else works for any causal language model of transformers: a family that is not listed here is sampled by its
own `generate` and scored in whole passes over right-padded text. A name is added once `tests/decoders` passes with it.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from genrlhf.models.structure import inner_model
from genrlhf.ops import position_ids

__all__ = [
    "RANDOM_FAMILIES",
    "SHARED_PREFIX_FAMILIES",
    "TRUNK_FAMILIES",
    "family_of",
    "forward_arguments",
    "reads_left_padding",
    "shares_prefix",
    "without_router_logits",
]

SHARED_PREFIX_FAMILIES = frozenset(
    {
        *("afmoe", "apertus", "arcee", "biogpt", "bitnet", "cohere", "cohere2", "dbrx", "dots1", "ernie4_5"),
        *("ernie4_5_moe", "exaone4", "exaone_moe", "flex_olmo", "gemma", "gemma2", "gemma3_text", "glm", "glm4"),
        *("glm4_moe", "gpt2", "gpt_bigcode", "gpt_neox", "gpt_oss", "granite", "granitemoe", "granitemoeshared"),
        *("helium", "hunyuan_v1_dense", "hunyuan_v1_moe", "internlm3", "llama", "minimax_m2", "ministral"),
        *("ministral3", "mistral", "mixtral", "nanochat", "olmo", "olmo2", "olmo3", "olmoe", "opt", "persimmon", "phi"),
        *("phi3", "phimoe", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "seed_oss", "smollm3", "solar_open"),
        *("starcoder2", "vaultgemma"),
    }
)
"""Model types that send all of their attention through the library's attention interface and cache classes."""

TRUNK_FAMILIES = SHARED_PREFIX_FAMILIES | {
    *("axk1", "deepseek_v2", "deepseek_v3", "diffllama", "glm4_moe_lite", "granitemoehybrid", "jetmoe", "lfm2"),
    *("lfm2_moe", "minimax", "nemotron", "olmo_hybrid", "qwen3_5_moe_text", "qwen3_5_text", "qwen3_next", "stablelm"),
    *("xglm", "youtu"),
}
"""Model types whose layers take the last one's hidden states and nothing else that an earlier layer made."""


RANDOM_FAMILIES = frozenset({"phimoe"})
"""Model types that draw at random in training mode, by no setting: PhiMoE its experts (arXiv 2409.12136)."""


def family_of(model: Any) -> str:
    """Return the model type of a model in or out of a PEFT wrapper."""
    return str(inner_model(model).config.model_type)


def shares_prefix(model: Any) -> bool:
    """Say whether the samples of a prompt can share it in this model; adapters that prepend states cannot."""
    return family_of(model) in SHARED_PREFIX_FAMILIES and not _prepends_states(model)


def reads_left_padding(model: Any) -> bool:
    """Say whether a model is known to give left-padded text what it gives the text alone."""
    return family_of(model) in TRUNK_FAMILIES and not _prepends_states(model)


def _prepends_states(model: Any) -> bool:
    """Say whether an adapter puts states before the text, and so before the padding, which then lies between them."""
    adapters = getattr(model, "peft_config", None) or {}
    return isinstance(adapters, dict) and any(getattr(each, "is_prompt_learning", False) for each in adapters.values())


def forward_arguments(
    model: nn.Module, input_ids: torch.Tensor, mask: torch.Tensor, *, positions: bool = True
) -> dict[str, Any]:
    """Return the arguments of a pass over whole texts, as far as the model takes them.

    Args:
        model: any decoder, in or out of a PEFT wrapper.
        input_ids: (B, L) int64.
        mask: (B, L) bool, False on padding.
        positions: count positions from the first token of a text; False leaves that to the model.
    """
    accepted = inspect.signature(inner_model(model).forward).parameters
    given: dict[str, Any] = {"input_ids": input_ids, "attention_mask": mask.long(), "use_cache": False}
    if positions and "position_ids" in accepted:
        given["position_ids"] = position_ids(mask)
    return {**given, **without_router_logits(model)}


def without_router_logits(model: nn.Module) -> dict[str, Any]:
    """Return the argument that keeps a mixture of experts from its balancing loss, which no cache's mask fits."""
    accepted = inspect.signature(inner_model(model).forward).parameters
    return {"output_router_logits": False} if "output_router_logits" in accepted else {}
