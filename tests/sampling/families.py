"""Tiny models of every family whose samples share their prompt, and of some that do not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    FalconConfig,
    FalconForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.helpers import EOS_ID, PAD_ID, VOCAB_SIZE, tiny_gpt2, tiny_llama, tiny_opt

WINDOW = 6
"""Of the sliding layers: shorter than the tests' longer prompts, and than their completions."""


def build(model_class: type[Any], config_class: type[Any], **settings: Any) -> PreTrainedModel:
    """Return a model of 2 layers, d = 16, in eval mode; `settings` go to its config."""
    torch.manual_seed(0)
    common = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "pad_token_id": PAD_ID,
        "bos_token_id": None,
        "eos_token_id": EOS_ID,
        "initializer_range": 0.3,
    }
    model: PreTrainedModel = model_class(config_class(**{**common, **settings})).eval()
    if "attn_logit_softcapping" in settings:
        # Some versions of transformers choose an attention for Gemma 2 that leaves out its soft cap.
        model.set_attn_implementation("eager")
    return model


GROUPED = {"intermediate_size": 32, "num_key_value_heads": 2, "head_dim": 4, "max_position_embeddings": 64}

FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": tiny_llama,
    "gpt2": tiny_gpt2,
    "opt": tiny_opt,
    "mistral": partial(build, MistralForCausalLM, MistralConfig, **GROUPED, sliding_window=WINDOW),
    "qwen2": partial(build, Qwen2ForCausalLM, Qwen2Config, **GROUPED),
    "qwen2_sliding": partial(
        build,
        Qwen2ForCausalLM,
        Qwen2Config,
        **GROUPED,
        use_sliding_window=True,
        sliding_window=WINDOW,
        max_window_layers=1,
    ),
    "qwen3": partial(build, Qwen3ForCausalLM, Qwen3Config, **GROUPED),
    "gemma": partial(build, GemmaForCausalLM, GemmaConfig, **GROUPED),
    "gemma2": partial(
        build,
        Gemma2ForCausalLM,
        Gemma2Config,
        **GROUPED,
        sliding_window=WINDOW,
        query_pre_attn_scalar=4,
        attn_logit_softcapping=2.0,
    ),
    "gemma3": partial(
        build,
        Gemma3ForCausalLM,
        Gemma3TextConfig,
        **GROUPED,
        sliding_window=WINDOW,
        query_pre_attn_scalar=4,
        layer_types=["sliding_attention", "full_attention"],
    ),
    "gpt_neox": partial(build, GPTNeoXForCausalLM, GPTNeoXConfig, intermediate_size=32, max_position_embeddings=64),
}

PLAIN_FAMILIES: dict[str, Callable[[], Any]] = {
    "bloom": partial(build, BloomForCausalLM, BloomConfig, n_layer=2, n_head=4),
    "falcon": partial(build, FalconForCausalLM, FalconConfig, max_position_embeddings=64),
    "mamba": partial(build, MambaForCausalLM, MambaConfig, state_size=4),
}
