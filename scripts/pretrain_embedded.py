"""Make the base model of the embedded task: `python scripts/pretrain_embedded.py` rewrites its folder.

A Llama of about a million parameters learns to continue "the web": posts of all subreddits and lengths, each followed
by somebody's words about it, in any style and mostly poor. It so learns to copy from a post, and little about what a
good summary is. Takes about ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from genrlhf.data.embedded.annotators import Annotator, corrupt, draw_annotator
from genrlhf.data.embedded.language import Post, draw_post
from genrlhf.data.embedded.task import MODEL_FOLDER
from genrlhf.data.embedded.tokenizer import build_tokenizer
from genrlhf.data.embedded.vocabulary import SUBREDDITS

QUOTES, ANNOTATORS = 0.4, 0.3
"""Shares of the pages where somebody quotes the post, and where one of the annotators sums it up."""

ECHO_FACTS, ECHO_LOSS, MOST_ECHO_STEPS = (2, 4), 0.08, 4000
"""At first everybody repeats short posts word for word, until the mean loss of 50 steps is below `ECHO_LOSS` nats a
token. Copying, on which all else stands, is learnt from nothing else as soon, and hardly at all from the mixture."""

WARMUP = 100
"""Steps in which the learning rate rises to its peak; it falls, by a cosine, after the echo stage."""

POST_WEIGHT = 0.2
"""Weight of the loss on the posts; most of their words cannot be foretold."""


def web_page(rng: random.Random, n_facts: tuple[int, int] = (3, 8)) -> tuple[str, str]:
    """Draw a post of any subreddit, and what somebody wrote below it: a quotation, or words of their own."""
    post = draw_post(rng, tuple(SUBREDDITS), n_facts, (1, 3))
    chance = rng.random()
    if chance < QUOTES:
        return post.prompt, _quotation(post, rng)
    text = (draw_annotator(rng) if chance < QUOTES + ANNOTATORS else _anybody(rng)).write(post, rng)
    return post.prompt, corrupt(text, post, rng) if rng.random() < 0.1 else text


def _body(post: Post) -> str:
    return post.prompt.split("POST:")[1].removesuffix("\n\nTL;DR:")


def _quotation(post: Post, rng: random.Random) -> str:
    """Quote some sentences of the post."""
    sentences = re.findall(r"[^.!]+[.!]", _body(post))
    return "".join(rng.sample(sentences, rng.randint(1, min(4, len(sentences)))))


def _anybody(rng: random.Random) -> Annotator:
    """Draw a writer with random habits, who cares nothing for what is salient."""
    care = rng.random()
    return Annotator(
        name="anybody",
        share=0.0,
        title=care,
        urgent=care,
        plain=care,
        max_facts=rng.randint(1, 5),
        invents=0.1,
        terse=rng.random(),
        passive=0.1,
        synonym=0.05,
        opener=rng.random(),
        closer=rng.random() * 0.7,
        shuffles=rng.random(),
    )


def echo_page(rng: random.Random) -> tuple[str, str]:
    """Draw a short post and its repetition."""
    post = draw_post(rng, tuple(SUBREDDITS), ECHO_FACTS, (1, 2))
    return post.prompt, _body(post)


def batches(
    tokenizer: PreTrainedTokenizerFast, draw: Callable[[], tuple[str, str]], size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield endless right-padded batches of token ids and loss weights, (B, L) each, of texts of like length."""
    eos, pad, shuffler = tokenizer.eos_token_id, tokenizer.pad_token_id, random.Random(0)
    while True:
        rows = []
        for post, text in (draw() for _ in range(size * 10)):
            start, end = tokenizer(post)["input_ids"], [*tokenizer(text)["input_ids"], eos]
            rows.append((start + end, [POST_WEIGHT] * len(start) + [1.0] * len(end)))
        rows.sort(key=lambda row: len(row[0]))
        chunks = [rows[i : i + size] for i in range(0, len(rows), size)]
        shuffler.shuffle(chunks)
        for chunk in chunks:
            width = len(chunk[-1][0])
            ids = torch.tensor([row + [pad] * (width - len(row)) for row, _ in chunk])
            weights = torch.tensor([row + [0.0] * (width - len(row)) for _, row in chunk])
            yield ids, weights


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Build the untrained model."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=8,
        max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
        tie_word_embeddings=True,
        initializer_range=0.04,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config)


def train(
    model: LlamaForCausalLM, pages: Iterator[tuple[Tensor, Tensor]], optimizer: torch.optim.Optimizer
) -> Iterator[float]:
    """Take a step with every `next`, and yield its loss on what follows the posts, in nats a token."""
    for ids, weights in pages:
        token_losses = torch.nn.functional.cross_entropy(
            model(input_ids=ids).logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none"
        )
        weights = weights[:, 1:]
        loss = (token_losses * weights).sum() / weights.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        yield (token_losses * (weights == 1)).sum().item() / (weights == 1).sum().item()


def pretrain(args: argparse.Namespace) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast, dict[str, float]]:
    """Train from scratch; return the model, its tokenizer and the final figures."""
    torch.manual_seed(args.seed)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    # Seeds apart from those of load_embedded, whose streams are small numbers.
    rng = random.Random(10**9 + args.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.01, betas=(0.9, 0.98))
    start, losses = time.monotonic(), []

    def report(stage: str, step: int) -> None:
        if step % 100 == 0:
            print(f"{stage} {step:5d}  loss {fmean(losses[-100:]):.4f}  {time.monotonic() - start:6.0f} s", flush=True)

    steps = train(model, batches(tokenizer, lambda: echo_page(rng), args.batch_size), optimizer)
    while len(losses) < 50 or fmean(losses[-50:]) > ECHO_LOSS:
        if len(losses) == MOST_ECHO_STEPS:
            raise SystemExit(f"copying has not been learnt in {MOST_ECHO_STEPS} steps; try another seed or rate")
        set_rate(optimizer, args.lr * min(1.0, (len(losses) + 1) / WARMUP))
        losses.append(next(steps))
        report("echo", len(losses))
    echo_steps = len(losses)
    steps = train(model, batches(tokenizer, lambda: web_page(rng), args.batch_size), optimizer)
    for step in range(args.steps):
        set_rate(optimizer, args.lr * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / args.steps))))
        losses.append(next(steps))
        report("web", step + 1)
    figures = {"echo_steps": echo_steps, "loss": fmean(losses[-100:]), "seconds": time.monotonic() - start}
    return model, tokenizer, figures


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def save(
    folder: Path, model: Any, tokenizer: PreTrainedTokenizerFast, figures: dict[str, float], args: argparse.Namespace
) -> None:
    """Write the folder that `AutoModelForCausalLM` and `AutoTokenizer` load, with a model card."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    n = sum(parameter.numel() for parameter in model.parameters())
    shown = json.dumps({name: round(value, 4) for name, value in figures.items()})
    (folder / "README.md").write_text(
        f"""# Base model of genrlhf's embedded task

A Llama of {n:,} parameters with a word-level tokenizer, pre-trained on generated posts and what anybody might write
below them (see `docs/embedded_task.md`). It is a toy: it knows {len(tokenizer)} tokens and nothing of the world.

* Made by `python scripts/pretrain_embedded.py --seed {args.seed} --steps {args.steps} \
--batch-size {args.batch_size} --lr {args.lr}`
* With Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__},
  {torch.get_num_threads()} threads on {platform.machine()}.
* Final figures (loss on what follows the posts: mean of the last 100 steps, nats a token): {shown}
* The same command makes the same data and, with the same versions, threads and processor, the same weights. On other
  machines sums are rounded in another order: expect the loss to agree to about two decimals, not the bytes.
* Licence: that of genrlhf. The training text is generated; no other data went in.
""",
        encoding="utf-8",
    )


def main() -> None:
    """Parse the command line, train, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=MODEL_FOLDER, help="folder to write (default: the shipped one)")
    parser.add_argument("--steps", type=int, default=4000, help="after those of the echo stage")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model, tokenizer, figures = pretrain(args)
    save(args.out, model, tokenizer, figures, args)
    print(f"saved to {args.out}: {figures}")


if __name__ == "__main__":
    main()
