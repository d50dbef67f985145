"""Stages that measure forgetting, of the arms of a study."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from genrlhf.studies.arms import Arm
from genrlhf.studies.graph import Stage, StageContext
from genrlhf.studies.ingredients import Found
from genrlhf.studies.results import to_json
from genrlhf.studies.stages.forgetting import forgetting_figures, measured_forgetting

__all__ = ["forgetting_stage"]


def forgetting_stage(
    arm: Arm,
    seed: int,
    *,
    model: Found,
    base: Found,
    texts: list[str],
    max_tokens: int,
    sampler: Callable[[str], Any],
) -> Stage | None:
    """Return what measures what an arm's model has forgotten; None for the one that others come from.

    Args:
        arm: the arm.
        seed: of its training.
        model: its model, needed as "model".
        base: the one that it comes from, needed as "base".
        texts: that both are asked about.
        max_tokens: of a text the first so many.
        sampler: returns that of the model in a folder.
    """
    if model.identity == base.identity:
        return None

    def run(folder: Path, context: StageContext) -> Mapping[str, Any]:
        samplers = [sampler(each.at(context)) for each in (model, base)]
        found = measured_forgetting(samplers[0], samplers[1], texts, max_tokens=max_tokens)
        if found is None:
            context.report("forgetting is left out: the model that it comes from has another vocabulary")
        figures: Mapping[str, Any] = to_json(forgetting_figures(found), values=True)
        return figures

    digest = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
    settings = {"model": model.known, "base": base.known, "texts": digest, "max_tokens": max_tokens}
    return Stage(f"forgetting/{arm.name}/seed-{seed}", settings, {**model.needs, **base.needs}, run)
