"""Models with random weights in the shapes that the GPU benchmark times, and a tokenizer to go with each."""

from __future__ import annotations

import itertools
import string
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

from genrlhf.models import reset_score_head

PAD, EOS = 0, 1

SHAPES: dict[str, dict[str, int | bool]] = {
    # layers, width, width within, heads, heads of keys and values, vocabulary
    "toy": {"layers": 5, "width": 64, "inner": 128, "heads": 4, "kv_heads": 2, "vocabulary": 512},
    "135m": {"layers": 30, "width": 576, "inner": 1536, "heads": 9, "kv_heads": 3, "vocabulary": 49152, "tied": True},
    "1b": {"layers": 22, "width": 2048, "inner": 5632, "heads": 32, "kv_heads": 4, "vocabulary": 32000},
    "3b": {"layers": 26, "width": 3200, "inner": 8640, "heads": 32, "kv_heads": 32, "vocabulary": 32000},
    "7b": {"layers": 32, "width": 4096, "inner": 11008, "heads": 32, "kv_heads": 32, "vocabulary": 32000},
}
"""SmolLM2-135M, TinyLlama, OpenLLaMA-3B and LLaMA-7B, and one for a processor."""


def shape_config(shape: str) -> LlamaConfig:
    """Return the config of a shape, with 2,048 positions."""
    sizes = SHAPES[shape]
    return LlamaConfig(
        vocab_size=sizes["vocabulary"],
        hidden_size=sizes["width"],
        intermediate_size=sizes["inner"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        num_key_value_heads=sizes["kv_heads"],
        max_position_embeddings=2048,
        tie_word_embeddings=bool(sizes.get("tied", False)),
        pad_token_id=PAD,
        bos_token_id=None,
        eos_token_id=EOS,
        num_labels=1,
    )


def device() -> torch.device:
    """Return the GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def causal_lm(shape: str, dtype: torch.dtype, seed: int = 0) -> LlamaForCausalLM:
    """Return a language model, made where it is to run."""
    torch.manual_seed(seed)
    with device():
        model = LlamaForCausalLM._from_config(shape_config(shape), dtype=dtype)
    return model.to(device()).eval()


def sequence_classifier(shape: str, dtype: torch.dtype, seed: int, like: LlamaForCausalLM | None = None) -> Any:
    """Return a sequence classifier, below its head the same as `like` where that is given."""
    torch.manual_seed(seed)
    with device():
        model = LlamaForSequenceClassification._from_config(shape_config(shape), dtype=dtype)
    if like is not None:
        model.model.load_state_dict(like.model.state_dict())
    reset_score_head(model)
    return model.to(device()).eval()


def tokenizer(shape: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer each of whose tokens is a word of four letters, so that any text comes back as it was."""
    size = int(SHAPES[shape]["vocabulary"])
    words = ("".join(letters) for letters in itertools.product(string.ascii_lowercase, repeat=4))
    names = ["<pad>", "<eos>", *itertools.islice(words, size - 2)]
    backend = Tokenizer(WordLevel({name: number for number, name in enumerate(names)}, unk_token="<pad>"))
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names[:2]])
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("[a-z]{4}"), behavior="isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="<eos>",
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_max_length=2048,
    )


def prompt_ids(shape: str, count: int, length: int, seed: int = 0) -> list[list[int]]:
    """Return different prompts of exactly `length` tokens."""
    generator = torch.Generator().manual_seed(seed)
    ids: list[list[int]] = torch.randint(
        2, int(SHAPES[shape]["vocabulary"]), (count, length), generator=generator
    ).tolist()
    return ids
