"""Tiny models and tokenizers, built from a config, that no test has to download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

PAD, EOS = "<pad>", "<eos>"
PAD_ID, EOS_ID = 0, 1
VOCAB_SIZE = 258
"""Pad, EOS and the 256 bytes."""

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '[' + message['role'] + ']' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"
)


def tiny_tokenizer(*, chat_template: bool = False, pad_token: str | None = PAD) -> PreTrainedTokenizerFast:
    """Return a tokenizer with a token a byte, so that any text comes back as it was; 258 tokens, no BOS, no unknown.

    Args:
        chat_template: give it `CHAT_TEMPLATE`: "[role]content", EOS behind assistants, a line a message.
        pad_token: None leaves it without one; its vocabulary has "<pad>" all the same.
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([PAD, EOS, *letters])}
    backend = Tokenizer(BPE(vocabulary, merges=[]))
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (PAD, EOS)])
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=EOS,
        pad_token=pad_token,
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_max_length=64,
    )
    if chat_template:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _llama_config(**overrides: Any) -> LlamaConfig:
    settings: dict[str, Any] = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 64,
        "pad_token_id": PAD_ID,
        "bos_token_id": None,
        "eos_token_id": EOS_ID,
        # Larger than usual, so that what a token, a position or the padding does to the logits is well above rounding.
        "initializer_range": 0.3,
    }
    return LlamaConfig(**{**settings, **overrides})


def tiny_llama(*, seed: int = 0, **overrides: Any) -> LlamaForCausalLM:
    """Return a Llama of 2 layers, d = 16, 64 (rotary) positions; `overrides` go to its config."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(_llama_config(**overrides)).eval()


def tiny_gpt2(*, seed: int = 0, **overrides: Any) -> GPT2LMHeadModel:
    """Return a GPT-2 of 2 layers, d = 16, 64 absolute positions, with dropout and tied embeddings."""
    settings: dict[str, Any] = {
        "vocab_size": VOCAB_SIZE,
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 2,
        "n_positions": 64,
        "pad_token_id": PAD_ID,
        "bos_token_id": None,
        "eos_token_id": EOS_ID,
        "initializer_range": 0.3,
    }
    torch.manual_seed(seed)
    return GPT2LMHeadModel(GPT2Config(**{**settings, **overrides})).eval()


def tiny_opt(*, seed: int = 0, **overrides: Any) -> OPTForCausalLM:
    """Return an OPT of 2 layers, d = 16, 64 absolute positions, with dropout and tied embeddings of width 16."""
    settings: dict[str, Any] = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 16,
        "word_embed_proj_dim": 16,
        "ffn_dim": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "pad_token_id": PAD_ID,
        "bos_token_id": None,
        "eos_token_id": EOS_ID,
        "init_std": 0.3,
    }
    torch.manual_seed(seed)
    return OPTForCausalLM(OPTConfig(**{**settings, **overrides})).eval()


def tiny_reward_model(*, seed: int = 0, num_labels: int = 1, **overrides: Any) -> LlamaForSequenceClassification:
    """Return a Llama with a score head."""
    torch.manual_seed(seed)
    return LlamaForSequenceClassification(_llama_config(num_labels=num_labels, **overrides)).eval()


def tiny_bert(**overrides: Any) -> BertModel:
    """Return an encoder."""
    torch.manual_seed(0)
    config = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
    }
    return BertModel(BertConfig(**{**config, **overrides})).eval()


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None, folder: Path) -> Path:
    """Save a model and its tokenizer (None for none) to `folder` and return it."""
    model.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return folder
