"""Stages that make preferences between a model's own samples, for tasks that come without any."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.data.log import recover_records, replace_records
from genrlhf.data.rater import preferences_from_samples
from genrlhf.errors import DataError
from genrlhf.studies.stages.outputs import Draw, draw_outputs
from genrlhf.trainers.shared import decided_by_main

if TYPE_CHECKING:
    from datasets import Dataset

    from genrlhf.studies.recipe import Preferences
    from genrlhf.types import RewardFunction

__all__ = ["SAMPLES", "SIDES", "draw_part", "make_preferences", "parts_of", "read_preferences", "refuse_unrated"]

SAMPLES = "samples.jsonl"

HELD_OUT = 0.15
"""Share of the prompts whose pairs are held out."""

SIDES = ("train", "held_out")


def parts_of(recipe: Preferences, prompts: Dataset, batch_size: int) -> list[range]:
    """Return the rows of the prompts that each part draws for, cut where a batch ends, so that all draw the same.

    Args:
        recipe: says how many prompts, samples and parts.
        prompts: of the task.
        batch_size: sequences drawn at a time.
    """
    total, batch = min(recipe.prompts, len(prompts)), max(1, batch_size // recipe.samples)
    batches = math.ceil(total / batch)
    parts = min(recipe.parts, batches)
    cuts = [min(total, batch * (batches * part // parts)) for part in range(parts + 1)]
    return [range(first, last) for first, last in pairwise(cuts)]


def draw_part(
    folder: Path, prompts: Dataset, draw: Draw, recipe: Preferences, *, part: range, batch_size: int
) -> list[dict[str, Any]]:
    """Sample some outputs of every prompt in a part of the rows into `samples.jsonl`, and return them.

    Args:
        folder: where they go.
        prompts: of the task.
        draw: samples a model.
        recipe: says how many samples.
        part: the rows.
        batch_size: sequences drawn at a time.
    """
    return draw_outputs(
        folder / SAMPLES,
        prompts.select(part),
        "preferences",
        lambda asked, rows, n: draw(asked, [part[row] for row in rows], n),
        counts=[recipe.samples] * len(part),
        batch_size=batch_size,
    )


def make_preferences(
    folder: Path, rows: list[dict[str, Any]], recipe: Preferences, *, gold: RewardFunction | None, seed: int
) -> dict[str, Any]:
    """Pair a model's samples as the gold score or `rate` ranks them.

    A reward model so learns from what its policy writes, as in Stiennon et al. 2020, section 3.1. The pairs go to
    `train.jsonl` and `held_out.jsonl`, without a prompt in common.

    Args:
        folder: where they go.
        rows: the samples of every prompt and, without a gold score, its `reference`.
        recipe: says how many pairs, and at what temperature labels are drawn.
        gold: the true score, where the task has one.
        seed: of the labels.

    Returns:
        How many pairs there are of each side.
    """
    return decided_by_main(lambda: _pair(folder, rows, recipe, gold, seed))


def refuse_unrated(prompts: Dataset, gold: RewardFunction | None) -> None:
    """Raise `DataError` where nothing says which of two samples is better."""
    if gold is None and "reference" not in prompts.column_names:
        raise DataError(
            "The task has neither preferences nor a gold score or references to make any by; add one of them."
        )


def _pair(
    folder: Path, rows: list[dict[str, Any]], recipe: Preferences, gold: RewardFunction | None, seed: int
) -> dict[str, int]:
    held_out = math.ceil(HELD_OUT * len(rows))
    options: dict[str, Any] = {}
    if gold is not None:
        # Other than a rating, a gold score is exact: the least difference counts.
        options = {"rater": lambda prompts, completions, _: gold(prompts, completions), "min_margin": 0.0}
    counts = {}
    for side, part in zip(SIDES, (rows[:-held_out], rows[-held_out:]), strict=True):
        pairs = preferences_from_samples(
            [row["prompt"] for row in part],
            [row["outputs"] for row in part],
            [row.get("reference", "") for row in part],
            n_pairs_per_prompt=recipe.pairs,
            temperature=recipe.temperature,
            seed=seed,
            **options,
        )
        replace_records(folder / f"{side}.jsonl", pairs.to_list())
        counts[side] = len(pairs)
    return {"pairs": counts["train"], "held_out_pairs": counts["held_out"]}


def read_preferences(folder: Path) -> tuple[Dataset, Dataset]:
    """Return the pairs to train on, and those that are held out."""
    from datasets import Dataset

    train, held_out = (Dataset.from_list(recover_records(folder / f"{side}.jsonl")) for side in SIDES)
    return train, held_out
