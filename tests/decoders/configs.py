"""Tiny decoders of as many model types as transformers builds from a config alone."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel

from tests.helpers import EOS_ID, PAD_ID, VOCAB_SIZE

__all__ = ["DECODERS", "NOT_IN_PPO", "UNLIKE_ANY_SAMPLER", "build", "build_classifier", "is_known", "known"]

WINDOW = 4
"""Of sliding layers: shorter than the longer prompts, and than the completions."""

COMMON: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": PAD_ID,
    "bos_token_id": EOS_ID,
    "eos_token_id": EOS_ID,
    # Larger than usual, so that what a token, a position or the padding does to the logits is well above rounding.
    "initializer_range": 0.2,
}
EXPERTS: dict[str, Any] = {
    "num_local_experts": 4,
    "num_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "output_router_logits": True,
}
GROUPS: dict[str, Any] = {"n_group": 1, "topk_group": 1, "first_k_dense_replace": 1}
LATENT: dict[str, Any] = {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 8,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 8,
}
SLIDING: dict[str, Any] = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
LINEAR: dict[str, Any] = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
SSM: dict[str, Any] = {
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_n_groups": 1,
    "mamba_d_state": 4,
    "mamba_d_conv": 4,
    "mamba_chunk_size": 8,
}

DECODERS: dict[str, dict[str, Any]] = {
    "afmoe": {**EXPERTS, **SLIDING, "num_dense_layers": 1, "head_dim": 8},
    "apertus": {},
    "arcee": {},
    "axk1": {**EXPERTS, **LATENT, **GROUPS},
    "bamba": {**SSM, "attn_layer_indices": [1], "attn_rotary_emb": 4},
    "bert": {"is_decoder": True},
    "bert-generation": {"is_decoder": True},
    "big_bird": {"is_decoder": True, "attention_type": "original_full"},
    "biogpt": {},
    "bitnet": {},
    "bloom": {},
    "camembert": {"is_decoder": True},
    "codegen": {"n_ctx": 64, "rotary_dim": 4},
    "cohere": {},
    "cohere2": SLIDING,
    "ctrl": {"n_embd": 32, "dff": 48, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "data2vec-text": {"is_decoder": True, "max_position_embeddings": 80},
    "dbrx": {
        "d_model": 32,
        "n_heads": 4,
        "n_layers": 2,
        "max_seq_len": 64,
        "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 1.0},
        "ffn_config": {"ffn_hidden_size": 24, "moe_num_experts": 4, "moe_top_k": 2},
        "output_router_logits": True,
    },
    "deepseek_v2": {**EXPERTS, **LATENT, **GROUPS},
    "deepseek_v3": {**EXPERTS, **LATENT, **GROUPS},
    "diffllama": {},
    "doge": {"sliding_window": None},
    "dots1": {
        **EXPERTS,
        "first_k_dense_replace": 1,
        "n_group": 1,
        "topk_group": 1,
        "n_shared_experts": 1,
        "head_dim": 8,
    },
    "electra": {"is_decoder": True, "embedding_size": 16},
    "ernie": {"is_decoder": True},
    "ernie4_5": {"head_dim": 8},
    "ernie4_5_moe": {**EXPERTS, "moe_num_experts": 4, "moe_k": 2, "moe_layer_start_index": 1},
    "exaone4": SLIDING,
    "exaone_moe": {**EXPERTS, **SLIDING, **GROUPS},
    "falcon": {},
    "falcon:alibi": {"alibi": True, "parallel_attn": False},
    "falcon:new": {"new_decoder_architecture": True, "num_kv_heads": 2},
    "falcon_h1": {**SSM, "mamba_d_ssm": 64},
    "falcon_mamba": {"state_size": 4},
    "flex_olmo": EXPERTS,
    "gemma": {"head_dim": 8},
    "gemma2": {"head_dim": 8, "sliding_window": WINDOW, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 2.0},
    "gemma3_text": {"head_dim": 8, "query_pre_attn_scalar": 8, **SLIDING},
    "gemma3n_text": {
        "head_dim": 8,
        "num_hidden_layers": 4,
        "intermediate_size": [48] * 4,
        "sliding_window": WINDOW,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "num_kv_shared_layers": 2,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": VOCAB_SIZE,
        "laurel_rank": 4,
        "activation_sparsity_pattern": [0.0] * 4,
    },
    "gemma4_text": {
        "head_dim": 8,
        "global_head_dim": 8,
        "hidden_size_per_layer_input": 0,
        "num_kv_shared_layers": 0,
        **SLIDING,
    },
    "glm": {"head_dim": 8},
    "glm4": {"head_dim": 8},
    "glm4_moe": {**EXPERTS, **GROUPS, "head_dim": 8},
    "glm4_moe_lite": {**EXPERTS, **LATENT, **GROUPS},
    "gpt2": {},
    "gpt_bigcode": {},
    "gpt_neo": {"num_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": WINDOW},
    "gpt_neox": {},
    "gpt_neox:serial": {"use_parallel_residual": False, "rotary_pct": 1.0},
    "gpt_neox_japanese": {},
    "gpt_oss": {**EXPERTS, **SLIDING, "head_dim": 8},
    "gptj": {"rotary_dim": 4},
    "granite": {"embedding_multiplier": 2.0, "logits_scaling": 2.0, "residual_multiplier": 0.5},
    "granitemoe": {**EXPERTS, "embedding_multiplier": 2.0},
    "granitemoehybrid": {**EXPERTS, **SSM, "layer_types": ["mamba", "attention"], "shared_intermediate_size": 24},
    "granitemoehybrid:reversed": {
        **EXPERTS,
        **SSM,
        "layer_types": ["attention", "mamba"],
        "shared_intermediate_size": 24,
    },
    "granitemoeshared": {**EXPERTS, "shared_intermediate_size": 24},
    "helium": {"head_dim": 8},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {**EXPERTS, "moe_topk": 2, "head_dim": 8},
    "internlm3": {},
    "jamba": {
        **EXPERTS,
        "attn_layer_offset": 1,
        "attn_layer_period": 2,
        "mamba_d_state": 4,
        "use_mamba_kernels": False,
    },
    "jetmoe": {**EXPERTS, "kv_channels": 8, "num_key_value_heads": 2},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2:reversed": {"layer_types": ["full_attention", "conv"]},
    "lfm2_moe": {**EXPERTS, "layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "llama": {},
    "llama:tied": {"tie_word_embeddings": True},
    "llama4_text": {**EXPERTS, "head_dim": 8, "intermediate_size_mlp": 48, "attention_chunk_size": 8},
    "longcat_flash": {
        **LATENT,
        "head_dim": 4,
        "num_layers": 2,
        "ffn_hidden_size": 48,
        "expert_ffn_hidden_size": 24,
        "n_routed_experts": 4,
        "zero_expert_num": 2,
        "moe_topk": 2,
    },
    "mamba": {"state_size": 4},
    "mamba2": {"num_heads": 4, "head_dim": 16, "n_groups": 1, "state_size": 4, "chunk_size": 8},
    "megatron-bert": {"is_decoder": True},
    "minimax": {**EXPERTS, "layer_types": ["linear_attention", "full_attention"], "block_size": 8, "head_dim": 8},
    "minimax:reversed": {
        **EXPERTS,
        "layer_types": ["full_attention", "linear_attention"],
        "block_size": 8,
        "head_dim": 8,
    },
    "minimax_m2": {**EXPERTS, "head_dim": 8},
    "ministral": {"head_dim": 8, **SLIDING},
    "ministral3": {"head_dim": 8},
    "mistral": {"sliding_window": WINDOW, "head_dim": 8},
    "mixtral": {**EXPERTS, "sliding_window": None, "head_dim": 8},
    "mixtral:sliding": {**EXPERTS, "sliding_window": WINDOW, "head_dim": 8},
    "modernbert-decoder": {"local_attention": WINDOW, "global_attn_every_n_layers": 2},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64, "expansion_ratio": 2},
    "nanochat": {},
    "nemotron": {},
    "olmo": {"clip_qkv": 1.0},
    "olmo2": {},
    "olmo3": SLIDING,
    "olmo_hybrid": LINEAR,
    "olmo_hybrid:reversed": {**LINEAR, "layer_types": ["full_attention", "linear_attention"]},
    "olmoe": EXPERTS,
    "openai-gpt": {},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32, "init_std": 0.2},
    "opt:projected": {"ffn_dim": 48, "word_embed_proj_dim": 16, "init_std": 0.2, "do_layer_norm_before": False},
    "persimmon": {},
    "phi": {"partial_rotary_factor": 0.5},
    "phi3": {"sliding_window": WINDOW},
    "phimoe": {**EXPERTS, "sliding_window": None},
    "qwen2": {},
    "qwen2:sliding": {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    "qwen2_moe": {**EXPERTS, "shared_expert_intermediate_size": 24},
    "qwen3": {"head_dim": 8},
    "qwen3_moe": {**EXPERTS, "head_dim": 8},
    "qwen3_next": {**EXPERTS, **LINEAR, "head_dim": 8, "shared_expert_intermediate_size": 24},
    "qwen3_next:reversed": {
        **EXPERTS,
        **LINEAR,
        "head_dim": 8,
        "shared_expert_intermediate_size": 24,
        "layer_types": ["full_attention", "linear_attention"],
    },
    "qwen3_5_text": {**LINEAR, "head_dim": 8},
    "qwen3_5_moe_text": {**EXPERTS, **LINEAR, "head_dim": 8, "shared_expert_intermediate_size": 24},
    "recurrent_gemma": {
        "attention_window_size": WINDOW,
        "lru_width": 32,
        "block_types": ["recurrent", "attention"],
        "head_dim": 8,
    },
    "rembert": {"is_decoder": True, "input_embedding_size": 16, "output_embedding_size": 16},
    "roberta": {"is_decoder": True, "max_position_embeddings": 80},
    "roberta-prelayernorm": {"is_decoder": True, "max_position_embeddings": 80},
    "roformer": {"is_decoder": True},
    "rwkv": {"attention_hidden_size": 32, "context_length": 64},
    "seed_oss": {"head_dim": 8},
    "smollm3": {"no_rope_layers": [1, 0]},
    "solar_open": {**EXPERTS, **GROUPS, "head_dim": 8},
    "stablelm": {"use_parallel_residual": True, "qk_layernorm": True},
    "starcoder2": {"sliding_window": WINDOW},
    "vaultgemma": {"head_dim": 8, "query_pre_attn_scalar": 8, **SLIDING},
    "xglm": {"d_model": 32, "ffn_dim": 48, "num_layers": 2, "attention_heads": 4},
    "xlm-roberta": {"is_decoder": True, "max_position_embeddings": 80},
    "xlm": {"emb_dim": 32, "n_layers": 2, "n_heads": 4, "causal": True},
    "xlnet": {"d_model": 32, "d_inner": 48, "n_layer": 2, "n_head": 4},
    "youtu": LATENT,
    "zamba": {
        "num_hidden_layers": 4,
        "num_key_value_heads": 4,
        "layer_types": ["linear_attention", "hybrid"] * 2,
        "mamba_d_state": 4,
        "n_mamba_heads": 2,
        "use_mamba_kernels": False,
    },
}
"""Settings of each decoder beside `COMMON`, by model type and, behind a colon, what is special about it."""

NOT_IN_PPO = {
    *("camembert", "data2vec-text", "roberta", "roberta-prelayernorm", "xlm-roberta"),
    *("phimoe", "recurrent_gemma", "xlm", "xlnet"),
}
"""Whose own `generate` does not find the probabilities of their forward pass in training."""

UNLIKE_ANY_SAMPLER = {"phimoe", "xlnet"}
"""Those whose forward pass has no such probabilities, whatever draws: at random in training, and ahead of the text."""


@functools.cache
def is_known(name: str) -> bool:
    """Whether the installed transformers has this model type."""
    try:
        AutoConfig.for_model(name.partition(":")[0])
    except (ValueError, KeyError):
        return False
    return True


def known(name: str) -> Any:
    """A test's parameter: the decoder called `name`, skipped where the installed transformers has none."""
    reason = f"transformers {transformers.__version__} has no {name.partition(':')[0]}"
    return pytest.param(name, marks=[] if is_known(name) else pytest.mark.skip(reason=reason))


def _config(name: str, **settings: Any) -> Any:
    kind, given = name.partition(":")[0], dict(DECODERS[name])
    common = {key: value for key, value in COMMON.items() if key not in _LEFT_OUT.get(kind, ())}
    return AutoConfig.for_model(kind, **{**common, **given, **settings})


_LEFT_OUT: dict[str, tuple[str, ...]] = {
    "dbrx": ("hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings"),
    "gpt_neo": ("num_hidden_layers",),
    "xlnet": ("max_position_embeddings",),
}
"""What of `COMMON` a config refuses."""


def build(name: str, **settings: Any) -> PreTrainedModel:
    """Return the decoder called `name` of `DECODERS`, in eval mode; `settings` go to its config."""
    torch.manual_seed(0)
    return _ready(AutoModelForCausalLM.from_config(_config(name, **settings)))


def build_classifier(name: str) -> PreTrainedModel | None:
    """Return a reward model of the same type, None where transformers has no class for it."""
    torch.manual_seed(1)
    config = _config(name, num_labels=1)
    if type(config) not in AutoModelForSequenceClassification._model_mapping:
        return None
    return _ready(AutoModelForSequenceClassification.from_config(config))


def _ready(model: PreTrainedModel) -> PreTrainedModel:
    model.eval()
    if getattr(model.config, "attn_logit_softcapping", None):
        # Some versions of transformers choose an attention for Gemma 2 that leaves out its soft cap.
        model.set_attn_implementation("eager")
    # Some start biases, norms and states at 0 or 1, where a fault with them would not show.
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return model
