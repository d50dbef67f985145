"""A small language model over characters, and a bare loop that fits it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from transformers import LlamaConfig, LlamaForCausalLM

__all__ = ["draw", "fit", "ids", "new_model", "probabilities"]

CHARACTERS = "0123456789+=GB:"


def ids(texts: Sequence[str]) -> torch.Tensor:
    """Return the tokens of texts of one length, (texts, L) int64: a token a character."""
    return torch.tensor([[CHARACTERS.index(character) for character in text] for text in texts])


def new_model(seed: int) -> LlamaForCausalLM:
    """Return a Llama of 2 layers and width 64 that has learnt nothing."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(CHARACTERS),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=16,
        bos_token_id=None,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config)


def fit(
    model: LlamaForCausalLM,
    rows: Sequence[tuple[str, str]],
    *,
    steps: int,
    seed: int,
    batch: int = 64,
    learning_rate: float = 1e-3,
    watch: Callable[[int], None] = lambda step: None,
) -> LlamaForCausalLM:
    """Train a model in place on prompts of one length and completions of one length, by the cross-entropy.

    `watch` is told how many steps are behind, before the first one and after each.
    """
    generator = torch.Generator().manual_seed(seed)
    lines, asked = ids([prompt + text for prompt, text in rows]), len(rows[0][0])
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0)
    watch(0)
    for step in range(1, steps + 1):
        some = lines[torch.randint(len(lines), (batch,), generator=generator)]
        logits = model(some[:, :-1]).logits[:, asked - 1 :]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), some[:, asked:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        watch(step)
    return model


@torch.no_grad()
def draw(model: LlamaForCausalLM, prompts: Sequence[str], length: int, generator: torch.Generator) -> list[str]:
    """Return a completion of so many characters of each prompt."""
    lines = ids(prompts)
    for _ in range(length):
        shares = model(lines).logits[:, -1].softmax(-1)
        lines = torch.cat([lines, torch.multinomial(shares, 1, generator=generator)], dim=1)
    return ["".join(CHARACTERS[token] for token in line[-length:]) for line in lines.tolist()]


@torch.no_grad()
def probabilities(model: LlamaForCausalLM, rows: Sequence[tuple[str, str]]) -> float:
    """Return the mean probability of completions behind their prompts."""
    lines, asked = ids([prompt + text for prompt, text in rows]), len(rows[0][0])
    logp = model(lines[:, :-1]).logits.log_softmax(-1).gather(-1, lines[:, 1:].unsqueeze(-1)).squeeze(-1)
    return float(logp[:, asked - 1 :].sum(1).exp().mean())
