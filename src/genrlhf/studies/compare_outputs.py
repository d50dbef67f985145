"""What every source of a comparison says to its inputs, and the files that keep it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from genrlhf.data.files import write_rows
from genrlhf.sampling.store import SampleStore
from genrlhf.studies.compare_inputs import GivenOutputs, Input
from genrlhf.studies.compare_models import AskedModel, Drawing, filled
from genrlhf.studies.results import GIVEN, OutputsOf, temperature_key
from genrlhf.types import Estimate

__all__ = ["CollectedOutputs"]


@dataclass
class CollectedOutputs:
    """Outputs of files and of models, one source behind the other.

    Attributes:
        folder: of the comparison.
        drawing: how models are sampled.
        asked: the inputs that models are asked.
        inputs: those that all sources have.
        sets: names of the evaluation sets.
        k: outputs of an input that are compared.
        warnings: gets what there is to say.
        report: says in one line what goes on.
        outputs: of every source and temperature, in the order of `inputs`.
        files: that they lie in.
        kls: of every model and temperature, where they were measured.
        forgotten: the loss of every model on texts beside another's, where it was measured.
    """

    folder: Path
    drawing: Drawing
    asked: Sequence[Input]
    inputs: Sequence[Input]
    sets: Sequence[str]
    k: int
    warnings: list[str]
    report: Callable[[str], None]
    outputs: dict[tuple[str, str], list[list[str]]] = field(default_factory=dict)
    files: list[OutputsOf] = field(default_factory=list)
    kls: dict[tuple[str, str], Estimate] = field(default_factory=dict)
    forgotten: dict[str, dict[str, Estimate]] = field(default_factory=dict)

    def take(self, name: str, given: GivenOutputs) -> None:
        """Take the outputs of a file as they are."""
        outputs = [given.outputs(one) for one in self.inputs]
        self._keep(name, GIVEN, outputs)
        for where, file in self._files(name, GIVEN).items():
            rows = [
                {**_row(one), "outputs": texts}
                for one, texts in zip(self.inputs, outputs, strict=True)
                if one.where == where
            ]
            write_rows(rows, file)

    def draw(self, name: str, model: AskedModel, known: Mapping[str, Any]) -> None:
        """Draw what a model lacks at every temperature.

        Args:
            name: of the source.
            model: that is asked.
            known: what tells the model from others.
        """
        for temperature in self.drawing.temperatures:
            key, cut, total = temperature_key(temperature), 0, 0
            drawn: dict[str, list[str]] = {}
            for where, file in self._files(name, key).items():
                asked = [one for one in self.asked if one.where == where]
                store = SampleStore(
                    file,
                    [_row(one) for one in asked],
                    n=self.drawing.n,
                    params=self.drawing.params_of(name, temperature),
                    seed=self.drawing.seed,
                    model={**known, **model.settings()},
                    overwrite=self.drawing.overwrite,
                )
                said = f"{name} at temperature {key}, {len(asked)} prompts of {where}"
                found = filled(store, model, said, self.report)
                cut += sum(not ended for record in found for ended in record["ended"])
                total += len(found) * self.drawing.n
                drawn |= {one.text: record["outputs"] for one, record in zip(asked, found, strict=True)}
            if cut:
                longest = self.drawing.params_of(name, temperature).max_new_tokens
                what = f"were cut off at {longest} tokens"
                if name in self.drawing.verbalized:
                    what = f"are empty: their calls were cut off at {longest} tokens, or not answered as asked"
                self.warnings.append(f"{name} at temperature {key}: {cut} of {total} outputs {what}.")
            self._keep(name, key, [drawn[one.text] for one in self.inputs])

    def measure_kl(self, name: str, model: AskedModel, base: AskedModel) -> None:
        """Measure the KL of a model from another on the first set, at every temperature that draws."""
        prompts = [one.prompt for one in self.inputs if one.where == self.sets[0]]
        if name in self.drawing.verbalized:
            self.warnings.append(f"{name}: verbalized samples have no probability of their own, so there is no KL.")
            return
        for temperature in self.drawing.temperatures:
            key = temperature_key(temperature)
            if temperature == 0:
                continue
            self.report(f"{name} at temperature {key}: KL")
            params = replace(self.drawing.params, temperature=temperature)
            # Other draws than those that are measured otherwise.
            found = model.kl_from(base, prompts, params, self.drawing.seed + 1)
            if found is None:
                self.warnings.append(f"{name}: its vocabulary is another than that of {base.model}, so there is no KL.")
                return
            self.kls[name, key] = found

    def _keep(self, name: str, temperature: str, outputs: Sequence[Sequence[str]]) -> None:
        self.outputs[name, temperature] = [list(texts[: self.k]) for texts in outputs]
        for where, file in self._files(name, temperature).items():
            relative = file.relative_to(self.folder).as_posix()
            self.files.append(
                {"method": name, "temperature": temperature, "seed": None, "set": where, "file": relative}
            )

    def _files(self, name: str, temperature: str) -> dict[str, Path]:
        """Return the file of every set."""
        folder = self.folder / "outputs" / f"{name}@{temperature}"
        slugs = [re.sub(r"[^\w.-]", "_", where)[:60].lstrip(".") for where in self.sets]
        clear = all(slugs) and len({slug.lower() for slug in slugs}) == len(slugs)
        names = slugs if clear else [f"set-{number}" for number in range(len(slugs))]
        return {where: folder / f"{slug}.jsonl" for where, slug in zip(self.sets, names, strict=True)}


def _row(one: Input) -> dict[str, Any]:
    row = {"prompt": one.prompt, "dataset": one.where}
    return row if one.reference is None else {**row, "reference": one.reference}
