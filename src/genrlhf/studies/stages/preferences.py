"""Stages that make preferences between a model's own samples, for tasks that come without any."""

from __future__ import annotations

import math
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

__all__ = ["SIDES", "make_preferences", "read_preferences"]

HELD_OUT = 0.15
"""Share of the prompts whose pairs are held out."""

SIDES = ("train", "held_out")


def make_preferences(
    folder: Path,
    prompts: Dataset,
    draw: Draw,
    recipe: Preferences,
    *,
    gold: RewardFunction | None,
    seed: int,
    batch_size: int,
) -> dict[str, Any]:
    """Sample some outputs of every prompt and pair them as the gold score or `rate` ranks them.

    A reward model so learns from what its policy writes, as in Stiennon et al. 2020, section 3.1. The samples go to
    `samples.jsonl`, the pairs to `train.jsonl` and `held_out.jsonl`, without a prompt in common.

    Args:
        folder: where they go.
        prompts: rows of `prompt` and, without a gold score, `reference`.
        draw: samples a model.
        recipe: says how many prompts and samples, and at what temperature labels are drawn.
        gold: the true score, where the task has one.
        seed: of the labels.
        batch_size: sequences drawn at a time.

    Returns:
        How many pairs there are of each side.

    Raises:
        DataError: there is no gold score, and the prompts have no references to rate by.
    """
    refuse_unrated(prompts, gold)
    chosen = prompts.select(range(min(recipe.prompts, len(prompts))))
    rows = draw_outputs(
        folder / "samples.jsonl",
        chosen,
        "preferences",
        draw,
        counts=[recipe.samples] * len(chosen),
        batch_size=batch_size,
    )
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
