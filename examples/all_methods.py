"""What `all_methods.yaml` has beside methods: two evaluation sets, and what methods need that the task has not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

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
    """An encoder for DQO: which words a text has, of those of all texts."""
    split = [text.lower().replace(".", "").split() for text in texts]
    known = sorted({word for each in split for word in each}) or [""]
    # The last place is that of a text without words, whose length would be 0.
    return [[float(word in each) for word in known] + [float(not each)] for each in split]
