"""How far the evaluation sets are from the first one, and how much of a method's quality that costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.errors import DataError
from genrlhf.metrics.diversity.embeddings import Embedder
from genrlhf.metrics.preference import generalisation_gap
from genrlhf.metrics.preference.counting.generalisation import gaps_per_shift
from genrlhf.metrics.shift import shift_between
from genrlhf.models.fingerprint import model_fingerprint
from genrlhf.studies.given import described
from genrlhf.studies.graph import Stage, StageContext
from genrlhf.studies.results import Figures, quality_of, to_json
from genrlhf.studies.stages.measure import prompt_text
from genrlhf.types import Estimate

if TYPE_CHECKING:
    from genrlhf.metrics.diversity.embeddings import Encoder

__all__ = ["Shifts", "gap_of", "gap_per_shift", "shifts_of", "shifts_stage"]

Shifts = Mapping[str, Mapping[str, Estimate]]
"""By set and measure, see `Shift`."""


def shifts_of(
    prompts: Mapping[str, Sequence[Any]], *, encoder: str | Encoder | Embedder | None = None, seed: int = 0
) -> dict[str, dict[str, Estimate]]:
    """Return how far the prompts of every set are from those of the first one, by measure (see `Shift`).

    Args:
        prompts: by set, texts or conversations; sets that are too small to be compared are left out.
        encoder: what embeds them; None leaves the embeddings out.
        seed: of draws and shuffles.
    """
    if isinstance(encoder, str):
        encoder = Embedder(encoder)
    first, *others = ([prompt_text(prompt) for prompt in each] for each in prompts.values())
    found: dict[str, dict[str, Estimate]] = {}
    for name, texts in zip(list(prompts)[1:], others, strict=True):
        try:
            found[name] = shift_between(first, texts, encoder=encoder, seed=seed).measured()
        except DataError:
            continue
    return found


def shifts_stage(sets: Mapping[str, Any], data: Mapping[str, Any], encoder: Any) -> Stage:
    """Return what measures the shifts of the evaluation sets of a study.

    Args:
        sets: rows of `prompt`, by name, the set in distribution first.
        data: what tells the rows from others.
        encoder: as of `shifts_of`.
    """

    def run(folder: Path, context: StageContext) -> Mapping[str, Any]:
        found = shifts_of({name: rows["prompt"][:] for name, rows in sets.items()}, encoder=encoder)
        return {"shifts": to_json(found)}

    known = model_fingerprint(encoder) if isinstance(encoder, str) else encoder and described(encoder)
    return Stage("shifts", {"data": dict(data), "encoder": known}, {}, run)


def gap_of(figures: Figures, quality: str | None, first: str, name: str) -> Estimate | None:
    """Return the quality on the first set less that on another one; None where it was not measured.

    Args:
        figures: of a method at a temperature.
        quality: "pvr" or "gold"; rewards of unlike inputs are not compared.
        first: the set in distribution.
        name: the other set.
    """
    if quality == "pvr":
        return figures.get("gaps", {}).get(name)
    inside, outside = (quality_of(figures, quality, each) for each in (first, name))
    return None if quality != "gold" or inside is None or outside is None else generalisation_gap(inside, outside)


def gap_per_shift(figures: Figures, quality: str | None, sets: Sequence[str], shifts: Shifts) -> dict[str, Estimate]:
    """Return how much the gap grows with every measure of the shift; nothing for fewer than two sets of known shift.

    Args:
        figures: of a method at a temperature.
        quality: as of `gap_of`.
        sets: the one in distribution first.
        shifts: as of `shifts_of`.
    """
    first, *others = sets
    inside = quality_of(figures, quality, first)
    if inside is None or quality not in ("pvr", "gold"):
        return {}
    known = {name: figure for name in others if (figure := quality_of(figures, quality, name)) is not None}
    return gaps_per_shift(inside, known, shifts)
