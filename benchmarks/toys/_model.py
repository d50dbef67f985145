"""A small language model over characters, trained by the library's own trainer, whose probabilities are exact."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from tokenizers import AddedToken, Tokenizer, decoders
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from genrlhf import SFTConfig, SFTTrainer
from genrlhf.trainers import SupervisedBatch

__all__ = ["character_tokenizer", "fit", "log_likelihoods", "new_model", "next_token", "prepare"]


def character_tokenizer(characters: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer of padding, EOS and a token for each character."""
    vocabulary = {token: number for number, token in enumerate(["<pad>", "<eos>", *characters])}
    backend = Tokenizer(BPE(vocabulary, merges=[]))
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in ("<pad>", "<eos>")])
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", clean_up_tokenization_spaces=False
    )


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """Return a Llama of 2 layers and width 64 that has learnt nothing."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    return LlamaForCausalLM(config)


def prepare(
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    rows: Sequence[dict[str, Any]],
    *,
    steps: int,
    seed: int,
    batch: int = 64,
    learning_rate: float = 1e-3,
) -> Any:
    """Fit what an experiment begins from, in place: cross-entropy by a bare loop. Completions have one length."""
    generator = torch.Generator().manual_seed(seed)
    texts = [tokenizer(f"{row['prompt']}{row['completion']}<eos>")["input_ids"] for row in rows]
    length = max(map(len, texts))
    # Padded on the left: what is learnt lies at the end of all.
    ids = torch.tensor([[0] * (length - len(text)) + text for text in texts])
    learnt = len(tokenizer(rows[0]["completion"])["input_ids"]) + 1
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0)
    model.train()
    for _ in range(steps):
        some = ids[torch.randint(len(ids), (batch,), generator=generator)]
        mask = (some != 0).long()
        places = (mask.cumsum(1) - 1).clamp(min=0)
        logits = model(input_ids=some, attention_mask=mask, position_ids=places, logits_to_keep=learnt + 1).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), some[:, -learnt:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def fit(
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    rows: Sequence[dict[str, Any]],
    *,
    steps: int,
    seed: int,
    objective: Any = None,
    watch: Callable[[int, Any], None] | None = None,
    batch: int = 64,
    learning_rate: float = 1e-3,
) -> Any:
    """Train a model in place by an objective (None: the cross-entropy), and return it in eval mode.

    Rows are encoded and batched by `SFTTrainer`; the steps are taken here, without what it does around them.
    """
    disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        args = SFTConfig(folder, seed=seed, report_to="none", use_cpu=True)
        data = Dataset.from_list(list(rows))
        trainer = SFTTrainer(model, args, data, processing_class=tokenizer, objective=objective or _cross_entropy)
    trainer._set_signature_columns_if_needed()
    names = [name for name in trainer.train_dataset.column_names if name in trainer._signature_columns]
    lines = trainer.train_dataset.select_columns(names).to_list()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0)
    order: list[int] = []
    model.train()
    for step in range(steps):
        if len(order) < batch:
            order += torch.randperm(len(lines), generator=generator).tolist()
            if hasattr(trainer.data_collator, "epoch"):
                trainer.data_collator.epoch = step * batch // len(lines)
        inputs = dict(trainer.data_collator([lines[place] for place in order[:batch]]))
        del order[:batch]
        columns = inputs.pop("columns", None)
        seen = SupervisedBatch(
            model,
            model,
            {**inputs, "use_cache": False},
            columns,
            trainer._start,
            step=step,
            seed=seed,
            tokenizer=tokenizer,
        )
        optimizer.zero_grad()
        seen.checked(trainer.objective).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if watch is not None:
            watch(step + 1, model)
    return model.eval()


def _cross_entropy(batch: SupervisedBatch) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(batch.logits(), batch.labels, reduction="none")


@torch.no_grad()
def next_token(model: Any, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> torch.Tensor:
    """Return log-probabilities of the token behind each of some texts of one length, (texts, V)."""
    ids = torch.tensor([tokenizer(text)["input_ids"] for text in texts])
    found: torch.Tensor = model(ids).logits[:, -1].log_softmax(-1)
    return found


@torch.no_grad()
def log_likelihoods(
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    completions: Sequence[str],
    temperature: float = 1.0,
) -> torch.Tensor:
    """Return log π(y | x), EOS included, of completions of one length behind prompts of one length, (rows,)."""
    ids = torch.tensor([tokenizer(f"{x}{y}<eos>")["input_ids"] for x, y in zip(prompts, completions, strict=True)])
    asked = len(tokenizer(prompts[0])["input_ids"])
    logp = (model(ids).logits[:, :-1] / temperature).log_softmax(-1).gather(-1, ids[:, 1:].unsqueeze(-1)).squeeze(-1)
    return logp[:, asked - 1 :].sum(1)
