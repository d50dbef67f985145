"""Preferences between samples of the SFT model, for tasks that come without any."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.data.rater import preferences_from_samples
from genrlhf.errors import DataError
from genrlhf.studies.outputs import Draw, draw_outputs

if TYPE_CHECKING:
    from datasets import Dataset

    from genrlhf.studies.progress import Reporter
    from genrlhf.studies.recipe import Recipe
    from genrlhf.types import RewardFunction

__all__ = ["rated_preferences"]

HELD_OUT = 0.15
"""Share of the prompts whose pairs are held out."""


def rated_preferences(
    folder: Path, prompts: Dataset, draw: Draw, recipe: Recipe, *, gold: RewardFunction | None, report: Reporter
) -> tuple[Dataset, Dataset]:
    """Sample `recipe.preference_samples` outputs of some prompts and pair them as the gold score or `rate` ranks them.

    A reward model so learns from what its policy writes, as in Stiennon et al. 2020, section 3.1.

    Args:
        folder: of the study; the samples go to `outputs/preferences.jsonl`.
        prompts: rows of `prompt` and, without a gold score, `reference`.
        draw: samples the SFT model.
        recipe: says how many prompts and samples, and at what temperature labels are drawn.
        gold: the true score, where the task has one.
        report: prints progress.

    Returns:
        Training and held-out rows of `prompt`, `chosen`, `rejected`, without a prompt in common.

    Raises:
        DataError: there is no gold score, and the prompts have no references to rate by.
    """
    if gold is None and "reference" not in prompts.column_names:
        raise DataError(
            "The task has neither preferences nor a gold score or references to make any by; add one of them."
        )
    chosen = prompts.select(range(min(recipe.preference_prompts, len(prompts))))
    samples = replace(recipe, outputs_per_input=recipe.preference_samples, diversity_inputs=len(chosen))
    report(f"preferences: {samples.outputs_per_input} samples of {len(chosen)} prompts")
    rows = draw_outputs(folder / "outputs" / "preferences.jsonl", chosen, "preferences", samples, draw)
    held_out = math.ceil(HELD_OUT * len(rows))
    options: dict[str, Any] = {}
    if gold is not None:
        # Other than a rating, a gold score is exact: the least difference counts.
        options = {"rater": lambda prompts, completions, _: gold(prompts, completions), "min_margin": 0.0}
    sides = []
    for part in (rows[:-held_out], rows[-held_out:]):
        sides.append(
            preferences_from_samples(
                [row["prompt"] for row in part],
                [row["outputs"] for row in part],
                [row.get("reference", "") for row in part],
                n_pairs_per_prompt=recipe.preference_pairs,
                temperature=recipe.preference_temperature,
                seed=recipe.seed,
                **options,
            )
        )
    return sides[0], sides[1]
