"""What is measured of every source of a comparison, side by side: the record of results."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genrlhf.studies.assemble import versions
from genrlhf.studies.compare_figures import Measured, Measures
from genrlhf.studies.compare_inputs import Input
from genrlhf.studies.compare_outputs import CollectedOutputs
from genrlhf.studies.curves import Point, draw_curves, reference_temperature
from genrlhf.studies.making import Report
from genrlhf.studies.results import GIVEN, Results, diversity_of, quality_of
from genrlhf.studies.shifts import gap_per_shift, shifts_of
from genrlhf.types import Estimate

if TYPE_CHECKING:
    from genrlhf.metrics.diversity.embeddings import Embedder, Encoder

__all__ = ["SideBySide"]


@dataclass(frozen=True)
class SideBySide:
    """How sources are put side by side.

    Attributes:
        names: of the sources, in the order of tables.
        inputs: of all sets.
        sets: names of the evaluation sets, the one in distribution first.
        reference: the source whose quality the others are compared at.
        baseline: the source whose first outputs are the references of the judge; None for those of the inputs.
        free: sources that are controls which cost no training.
        encoder: by which the distance of the sets is measured.
        seed: of resamples.
        report: says in one line what goes on.
    """

    names: Sequence[str]
    inputs: Sequence[Input]
    sets: list[str]
    reference: str
    baseline: str | None
    free: Collection[str]
    encoder: str | Encoder | Embedder | None
    seed: int
    report: Report

    def measured(self, collected: CollectedOutputs, measures: Measures, warnings: list[str]) -> Results:
        """Measure every arm, and return the record, but for its settings and seconds; `warnings` gets what there is."""
        found = self._arms(collected, measures, warnings)
        quality = next((name for name in ("pvr", *measures.scores) if _has(found, name)), None)
        if quality is None:
            warnings.append("Quality was not measured, so there are no curves; name a judge or a reward.")
        level = "per_input" if "per_input" in measures.levels else next(iter(measures.levels), None)
        diversity = f"{level}.{next(iter(measures.metrics))}" if level else None
        arms = {
            name: {temperature: one for (other, temperature), one in found.items() if other == name}
            for name in self.names
        }
        points = {name: _points(of_name, quality, self.sets, diversity) for name, of_name in arms.items()}
        shifts = self._shifts()
        for one in found.values():
            slopes = gap_per_shift(one.figures, quality, self.sets, shifts)
            one.figures.update({"gap_per_shift": slopes} if slopes else {})
        return {
            "title": f"{', '.join(self.names)} on {len(self.inputs)} prompts",
            "sets": self.sets,
            "quality": quality,
            "diversity": diversity,
            "reference": self.reference,
            "methods": {
                name: {
                    "label": name,
                    "paper": "",
                    "loop": "",
                    "free": name in self.free,
                    "temperatures": {temperature: one.figures for temperature, one in of_name.items()},
                }
                for name, of_name in arms.items()
            },
            "curves": draw_curves(
                points, reference=self.reference, free=self.free, share=quality == "pvr", seed=self.seed
            ),
            "outputs": collected.files,
            "warnings": list(dict.fromkeys(warnings)),
            "settings": {},
            "versions": versions(),
            "seconds": 0.0,
            "shifts": shifts,
        }

    def _arms(
        self, collected: CollectedOutputs, measures: Measures, warnings: list[str]
    ) -> dict[tuple[str, str], Measured]:
        found: dict[tuple[str, str], Measured] = {}
        judged = measures.judge is not None
        references = self._references(collected.outputs, warnings) if judged else [None] * len(self.inputs)
        for (name, temperature), outputs in collected.outputs.items():
            label = name if temperature == GIVEN else f"{name} at temperature {temperature}"
            self.report(f"{label}: measuring")
            one = found[name, temperature] = measures.of(label, self.inputs, outputs, references, self.sets)
            warnings += one.warnings
            if (kl := collected.kls.get((name, temperature))) is not None:
                one.figures["kl"] = kl
            if forgotten := collected.forgotten.get(name):
                one.figures["forgetting"] = forgotten
        return found

    def _shifts(self) -> dict[str, dict[str, Estimate]]:
        if len(self.sets) < 2:
            return {}
        prompts = {where: [one.text for one in self.inputs if one.where == where] for where in self.sets}
        return shifts_of(prompts, encoder=self.encoder)

    def _references(self, outputs: Mapping[tuple[str, str], list[list[str]]], warnings: list[str]) -> list[str | None]:
        if self.baseline is None:
            missing = sum(one.reference is None for one in self.inputs)
            if missing:
                warnings.append(f"{missing} of {len(self.inputs)} inputs have no reference, and are not judged.")
            return [one.reference for one in self.inputs]
        temperatures = [t for name, t in outputs if name == self.baseline]
        return [texts[0] for texts in outputs[self.baseline, reference_temperature(temperatures)]]


def _has(found: Mapping[tuple[str, str], Measured], quality: str) -> bool:
    return all(quality in one.figures for one in found.values())


def _points(
    arms: Mapping[str, Measured], quality: str | None, sets: Sequence[str], diversity: str | None
) -> list[Point]:
    """Return the points of a method, those that have both figures."""
    points = []
    for temperature, one in arms.items():
        q, d = quality_of(one.figures, quality, sets[0]), diversity_of(one.figures, diversity)
        if q is not None and d is not None and quality is not None:
            values = one.values.get(quality), one.values.get(diversity or "")
            tables = [None if each is None else each[None] for each in values]
            known = all(each is not None for each in tables)
            points.append(Point(temperature, q, d, *(tables if known else (None, None))))
    return points
