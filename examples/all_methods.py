"""What `all_methods.yaml` has beside methods: two evaluation sets, and what methods need that the task has not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from zlib import crc32

from genrlhf import load_task
from genrlhf.data import Task, embedded

GOOD = 0.4
"""The gold score from which a summary passes: it has half of what matters, and little else."""


def task(**sizes: Any) -> Task:
    """Return the embedded task with the sets in distribution and under both shifts."""
    whole = load_task("embedded", **sizes)
    return replace(whole, evaluation={name: whole.evaluation[name] for name in ("id", "ood")})


def passes(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
    """A verifier, for methods whose rewards are 0 or 1: whether a summary is good by its true score."""
    return [float(score >= GOOD) for score in embedded.gold_score(list(prompts), list(completions))]


def fulfilled(prompts: Sequence[str], completions: Sequence[str]) -> list[str]:
    """Feedback for HIR: the instruction that a summary fulfils, in words that the tokenizer has."""
    return [" well" if good else " not well" for good in passes(prompts, completions)]


def words(texts: Sequence[str]) -> list[list[float]]:
    """An encoder for DQO: how often a text has the words of each of 256 classes; the last place is that of no words."""
    found = [[0.0] * 257 for _ in texts]
    for vector, text in zip(found, texts, strict=True):
        for word in text.lower().replace(".", "").split():
            vector[crc32(word.encode()) % 256] += 1.0
        vector[256] = float(not any(vector))
    return found
