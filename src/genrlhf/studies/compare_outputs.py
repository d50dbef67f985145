"""What every source of a comparison says to its inputs, and the files that keep it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genrlhf.data.files import write_rows
from genrlhf.data.log import recover_records
from genrlhf.studies.compare_inputs import GivenOutputs, Input
from genrlhf.studies.compare_stages import OUTPUTS, Asked, slugs
from genrlhf.studies.folder import StudyFolder
from genrlhf.studies.results import GIVEN, OutputsOf, from_json, temperature_key
from genrlhf.studies.stages.measure import kl_bound
from genrlhf.types import Estimate

__all__ = ["CollectedOutputs", "row_of"]


def row_of(one: Input) -> dict[str, Any]:
    """Return an input as files of outputs have it."""
    row = {"prompt": one.prompt, "dataset": one.where}
    return row if one.reference is None else {**row, "reference": one.reference}


@dataclass
class CollectedOutputs:
    """Outputs of files and of models, one source behind the other.

    Attributes:
        asked: what the models were asked; all of it is done.
        inputs: those that all sources have.
        sets: names of the evaluation sets.
        k: outputs of an input that are compared.
        warnings: gets what there is to say.
        outputs: of every source and temperature, in the order of `inputs`.
        files: that they lie in, below `outputs` in the folder of the comparison.
        kls: of every model and temperature, where they were measured.
        forgotten: the loss of every model on texts beside another's, where it was measured.
    """

    asked: Asked
    inputs: Sequence[Input]
    sets: Sequence[str]
    k: int
    warnings: list[str]
    outputs: dict[tuple[str, str], list[list[str]]] = field(default_factory=dict)
    files: list[OutputsOf] = field(default_factory=list)
    kls: dict[tuple[str, str], Estimate] = field(default_factory=dict)
    forgotten: dict[str, dict[str, Estimate]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.places = StudyFolder(self.asked.folder, self.asked.graph())

    def take(self, name: str, given: GivenOutputs) -> None:
        """Take the outputs of a file as they are."""
        outputs = {one.text: given.outputs(one) for one in self.inputs}
        rows = {
            where: [{**row_of(one), "outputs": outputs[one.text]} for one in self.inputs if one.where == where]
            for where in self.sets
        }
        self._keep(name, GIVEN, rows, outputs)

    def collect(self, name: str, asked: Sequence[Input]) -> None:
        """Take what a model has said to the inputs that models were asked."""
        for temperature in self.asked.drawing.temperatures:
            key, cut = temperature_key(temperature), 0
            rows: dict[str, list[dict[str, Any]]] = {}
            outputs: dict[str, list[str]] = {}
            for where in self.sets:
                stage = self.asked.samples[name, key, where]
                cut += int(self.places.record_of(stage).figures["cut"])
                of_set = [one for one in asked if one.where == where]
                # With the references of today: outputs do not depend on them.
                records = recover_records(self.places.of(stage) / OUTPUTS)
                rows[where] = [{**record, **row_of(one)} for one, record in zip(of_set, records, strict=True)]
                outputs |= {one.text: record["outputs"] for one, record in zip(of_set, records, strict=True)}
            if cut:
                self._warn_of_cut(name, key, cut, sum(map(len, outputs.values())))
            self._keep(name, key, rows, outputs)
        self._collect_compared(name)

    def _collect_compared(self, name: str) -> None:
        """Take what was measured of a model beside the one that others are compared with."""
        asked, base = self.asked, self.asked.base
        if base is None:
            return
        (model,) = (each for each in asked.models if each.name == name)
        if name in asked.drawing.verbalized:
            self.warnings.append(f"{name}: verbalized samples have no probability of their own, so there is no KL.")
        elif model.model == base.model:
            keys = [temperature_key(temperature) for temperature in asked.drawing.temperatures if temperature > 0]
            self.kls |= {(name, key): kl_bound(1, len(asked.kl_prompts)) for key in keys}
        found = {key: from_json(dict(self._figures(stage)))["kl"] for key, stage in asked.kls.items() if key[0] == name}
        if None in found.values():
            self.warnings.append(f"{name}: its vocabulary is another than that of {base.model}, so there is no KL.")
        self.kls |= {key: kl for key, kl in found.items() if kl is not None}
        if (stage := asked.forgotten.get((name,))) is not None:
            self.forgotten[name] = from_json(dict(self._figures(stage))).get("forgetting", {})

    def _figures(self, stage: Any) -> Mapping[str, Any]:
        return self.places.record_of(stage).figures

    def _warn_of_cut(self, name: str, key: str, cut: int, total: int) -> None:
        drawing = self.asked.drawing
        longest = drawing.params_of(name, float(key)).max_new_tokens
        what = f"were cut off at {longest} tokens"
        if name in drawing.verbalized:
            what = f"are empty: their calls were cut off at {longest} tokens, or not answered as asked"
        self.warnings.append(f"{name} at temperature {key}: {cut} of {total} outputs {what}.")

    def _keep(
        self,
        name: str,
        temperature: str,
        rows: Mapping[str, Sequence[Mapping[str, Any]]],
        outputs: Mapping[str, Sequence[str]],
    ) -> None:
        """Keep the outputs of a source by what prompts say, and write rows of every set for a reader."""
        self.outputs[name, temperature] = [list(outputs[one.text][: self.k]) for one in self.inputs]
        folder = self.asked.folder
        for where, slug in zip(self.sets, slugs(self.sets, "set", ascii=False), strict=True):
            file = folder / "outputs" / f"{name}@{temperature}" / f"{slug}.jsonl"
            write_rows(rows[where], file)
            relative = file.relative_to(folder).as_posix()
            self.files.append(
                {"method": name, "temperature": temperature, "seed": None, "set": where, "file": relative}
            )
