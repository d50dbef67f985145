"""Checkpoints and files of outputs side by side: nothing is trained."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from genrlhf.data.lock import locked
from genrlhf.errors import ConfigError, DataError, excerpt
from genrlhf.metrics.diversity.evaluation import LEVELS, Level
from genrlhf.models.fingerprint import model_fingerprint
from genrlhf.models.loading import check_causal_lm, load_tokenizer
from genrlhf.studies.assemble import versions
from genrlhf.studies.compare_figures import Measured, Measures
from genrlhf.studies.compare_inputs import GivenOutputs, Input, common_inputs, inputs_of, sets_of
from genrlhf.studies.compare_models import AskedModel, Drawing
from genrlhf.studies.compare_outputs import CollectedOutputs
from genrlhf.studies.curves import Point, draw_curves, reference_temperature
from genrlhf.studies.results import (
    FILE_NAME,
    GIVEN,
    Results,
    diversity_of,
    quality_of,
    write_results,
)
from genrlhf.studies.shifts import gap_per_shift, shifts_of
from genrlhf.types import DiversityMetric, Estimate, Judge, RewardFunction, SamplingParams

if TYPE_CHECKING:
    import os

    from genrlhf.metrics.diversity.embeddings import Embedder, Encoder

__all__ = ["Comparison", "is_outputs_file", "run_comparison"]

_NAME = re.compile(r"\w[\w.@+-]*")
_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".eval")

Source: TypeAlias = Union[str, "os.PathLike[str]", Sequence[Mapping[str, Any]]]
"""A model by its name or folder, a file of outputs, or rows of outputs."""

Report = Callable[[str], None]


def is_outputs_file(source: str) -> bool:
    """Say whether a source is a file of outputs, by what is there or else by how its name ends; otherwise a model."""
    name = source.lower().removesuffix(".gz")
    path = Path(source).expanduser()
    return source == "-" or path.is_file() or path.is_fifo() or (name.endswith(_SUFFIXES) and not path.is_dir())


def run_comparison(
    sources: Mapping[str, Source],
    output_dir: str | os.PathLike[str],
    *,
    metrics: Mapping[str, DiversityMetric],
    prompts: Iterable[Mapping[str, Any]] | None = None,
    prompts_name: str = "the prompts",
    limit: int | None = None,
    drawing: Drawing | None = None,
    levels: Sequence[Level] = LEVELS[:2],
    judge: Judge | None = None,
    reward: RewardFunction | None = None,
    gold: RewardFunction | None = None,
    baseline: str | None = None,
    reference: str | None = None,
    kl_from: str | None = None,
    texts: Sequence[str] = (),
    free: Collection[str] = (),
    encoder: str | Encoder | Embedder | None = None,
    settings: Mapping[str, Any] | None = None,
    report: Report = lambda message: None,
) -> Results:
    """Compare models and files of outputs on the same prompts, and write `results.json` to `output_dir`.

    What models draw is kept in `output_dir/outputs`, a line for every prompt as it comes, so that the same call goes on
    where a killed one stopped.

    Args:
        sources: by the names that they shall have, in the order of tables: a hub name or folder of a causal language
            model (adapters too), a file of outputs in any form that `load_outputs` reads, or such rows.
        output_dir: where everything goes.
        metrics: of diversity, by name; the first is that of the plane.
        prompts: rows with `prompt`, and maybe `reference` and `dataset`, whose names are the evaluation sets; by
            default those of the first file.
        prompts_name: what messages call them.
        limit: the first so many inputs of every set.
        drawing: how models are sampled.
        levels: of diversity; "per_input" is the one of the plane, or else "across_input".
        judge: compares the first output of every input with its reference.
        reward: scores the first output of every input.
        gold: the true score, where there is one.
        baseline: the source whose first outputs, at temperature 1 or near it, are the references of the judge.
        reference: the source whose quality the others are compared at; the first by default.
        kl_from: the model among the sources from which the KL of all models is measured, on the first set, by one more
            sample of every prompt at every temperature above 0.
        texts: on which the loss of every model is measured beside that of `kl_from`: what it has forgotten.
        free: sources that are controls which cost no training.
        encoder: the sentence encoder by which the distance of the sets is measured, beside their words and lengths.
        settings: further settings that the record keeps.
        report: says in one line what goes on.

    Returns:
        What `read_results` reads.

    Raises:
        ConfigError: a setting, or a name, that cannot work.
        DataError: a file without outputs, other prompts, no references for a judge, too few outputs for a metric.
        ModelError: a model that is no causal language model.
        RunFolderError: `output_dir` holds outputs of other settings.
    """
    comparison = Comparison(
        sources,
        output_dir,
        drawing=drawing,
        reference=reference,
        baseline=baseline,
        kl_from=kl_from,
        texts=texts,
        free=free,
        encoder=encoder,
        report=report,
    )
    comparison.read(prompts, prompts_name, limit)
    comparison.check(metrics, levels, judged=judge is not None)
    scores = {name: score for name, score in (("gold", gold), ("reward", reward)) if score is not None}
    return comparison.run(Measures(metrics, levels, judge, scores), settings)


class Comparison:
    """A comparison step by step, for whoever makes a judge only once the sources are known to go together.

    The arguments are those of `run_comparison`.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        output_dir: str | os.PathLike[str],
        *,
        drawing: Drawing | None = None,
        reference: str | None = None,
        baseline: str | None = None,
        kl_from: str | None = None,
        texts: Sequence[str] = (),
        free: Collection[str] = (),
        encoder: str | Encoder | Embedder | None = None,
        report: Report = lambda message: None,
    ) -> None:
        self.folder, self.drawing, self.report = Path(output_dir).expanduser(), drawing or Drawing(), report
        self.start = time.monotonic()
        self.names = list(sources)
        if not self.names:
            raise ConfigError("There is nothing to compare; give at least one model or file of outputs.")
        for name in self.names:
            if not _NAME.fullmatch(name):
                raise ConfigError(f"{excerpt(name)} is no name; use letters, digits and . _ - @ +.")
        roles = {"reference": reference, "baseline": baseline, "kl_from": kl_from}
        for role, one in (*roles.items(), *(("free", name) for name in free)):
            if one is not None and one not in sources:
                raise ConfigError(f"{role} is {excerpt(one)}, which is none of {', '.join(self.names)}.")
        self.reference, self.baseline, self.free = reference or self.names[0], baseline, list(free)
        self.kl_from, self.texts, self.encoder = kl_from, list(texts), encoder
        if self.texts and kl_from is None:
            raise ConfigError("texts need the model that the others come from; name it (--kl-from NAME, kl_from).")
        self.models: dict[str, str] = {}
        self.given: dict[str, GivenOutputs] = {}
        self.sources: dict[str, dict[str, Any]] = {}
        for name, source in sources.items():
            self._take(name, source)
        if kl_from is not None:
            self._check_kl(kl_from)
        for name in self.drawing.verbalized:
            if name not in self.models:
                what = "a file of outputs" if name in self.given else f"none of {', '.join(self.names)}"
                raise ConfigError(f"verbalized names {excerpt(name)}, which is {what}; name a model.")
        self.warnings: list[str] = []
        self.inputs: list[Input] = []
        self.asked: list[Input] = []
        self.k = 0

    def _take(self, name: str, source: Any) -> None:
        """Tell a model from outputs, and check it."""
        if not isinstance(source, (str, Path)):
            self.given[name] = GivenOutputs.of(name, source)
            self.sources[name] = {"rows": len(self.given[name].rows)}
        elif is_outputs_file(str(source)):
            from genrlhf.integrations import load_outputs

            self.given[name] = GivenOutputs.of(name, load_outputs(source))
            self.sources[name] = {"file": str(source), "rows": len(self.given[name].rows)}
        else:
            check_causal_lm(str(source), trust_remote_code=self.drawing.trust_remote_code)
            self.models[name] = str(source)
            self.sources[name] = {"model": str(source), "weights": model_fingerprint(str(source))}

    def _check_kl(self, name: str) -> None:
        """Raise `ConfigError` where there is no KL from a source."""
        if name in self.given:
            raise ConfigError(f"kl_from is {name}, a file of outputs; name a model, whose probabilities are known.")
        params = self.drawing.params
        plain = SamplingParams(max_new_tokens=params.max_new_tokens, stop=params.stop)
        if replace(params, temperature=plain.temperature) != plain:
            raise ConfigError("kl_from measures plain samples; leave top_k, top_p and the like out of the drawing.")

    def read(self, prompts: Iterable[Mapping[str, Any]] | None, name: str, limit: int | None) -> None:
        """Find the inputs that all sources have, or can be asked."""
        if limit is not None and limit < 1:
            raise ConfigError(f"limit is {limit}; take at least 1 input of every set (--limit).")
        if prompts is None:
            if not self.given:
                raise ConfigError("There are no prompts; give some (--prompts FILE or --task NAME), or outputs.")
            name, file = next(iter(self.given.items()))
            prompts = file.rows.values()
        self.asked = inputs_of(prompts, source=name, limit=limit, warnings=self.warnings)
        self.inputs = common_inputs(self.asked, list(self.given.values()), source=name, warnings=self.warnings)
        self.sets = sets_of(self.inputs)

    def check(self, metrics: Mapping[str, DiversityMetric], levels: Sequence[Level], *, judged: bool) -> None:
        """Check what can be known before the work."""
        if not metrics and levels:
            raise ConfigError("There are no metrics of diversity; name at least one, such as ead.")
        least = {name: min(len(file.outputs(one)) for one in self.inputs) for name, file in self.given.items()}
        counts = {**{name: self.drawing.n for name in self.models}, **least}
        self.k = min(counts.values())
        fewest = min(counts, key=counts.__getitem__)
        if "per_input" in levels and self.k < 2:
            raise DataError(
                f"{fewest} has {self.k} output of an input, and the diversity of an input needs two; draw more (-n), "
                "or measure across inputs only (--levels across_input)."
            )
        if max(counts.values()) > self.k or any(
            len(file.outputs(one)) > self.k for file in self.given.values() for one in self.inputs
        ):
            self.warnings.append(
                f"The first {self.k} outputs of every input are measured: {fewest} has no more, and diversity depends "
                "on their number."
            )
        if judged and self.baseline is None and all(one.reference is None for one in self.inputs):
            raise DataError(
                "There are no references for the judge to compare with; add them to the prompts, or name the source "
                "whose outputs they are (--baseline NAME)."
            )
        self._check_templates()

    def _check_templates(self) -> None:
        """Check that every model can be asked these prompts in its own way, and say where that may not be meant."""
        conversation = any(not isinstance(one.prompt, str) for one in self.asked)
        self.chats: dict[str, bool] = {}
        for name, model in self.models.items():
            tokenizer = load_tokenizer(model, trust_remote_code=self.drawing.trust_remote_code)
            template = bool(tokenizer.chat_template)
            if conversation and not template:
                raise DataError(
                    f"{name} has no chat template, and some prompts are conversations; give prompts as text, or a "
                    "model with a template."
                )
            self.chats[name] = self.drawing.chat and template
            if self.drawing.chat and not template:
                self.warnings.append(f"{name} has no chat template, and continues the prompts as text.")
            elif template and not self.drawing.chat and not conversation:
                self.warnings.append(
                    f"{name} has a chat template, and continues the prompts as text; --chat (chat=True) sends each as "
                    "a user's message."
                )

    def run(self, measures: Measures, settings: Mapping[str, Any] | None = None) -> Results:
        """Draw, measure, and write `results.json`, which keeps further settings."""
        with locked(self.folder / FILE_NAME):
            results = self._measure(self._collected(), measures)
            results["settings"] = {**self._settings(measures), **(settings or {})}
            results["seconds"] = round(time.monotonic() - self.start, 1)
            write_results(results, self.folder)
        return results

    def _collected(self) -> CollectedOutputs:
        """Return the outputs of all sources, drawn where they are not there."""
        collected = CollectedOutputs(
            self.folder, self.drawing, self.asked, self.inputs, self.sets, self.k, self.warnings, self.report
        )
        base = None if self.kl_from is None else AskedModel(self.models[self.kl_from], self.drawing, chat=False)
        for name in self.names:
            if name in self.given:
                collected.take(name, self.given[name])
                continue
            model = AskedModel(self.models[name], self.drawing, chat=self.chats[name], name=name)
            if model.asking is not None:
                self.warnings.append(
                    f"{name} is asked as its folder says: {excerpt(str(model.asking))}; --ignore-asking "
                    "(ignore_asking=True) leaves that out."
                )
            collected.draw(name, model, self.sources[name])
            if base is not None:
                collected.measure_kl(name, model, base)
            if base is not None and self.texts and name != self.kl_from:
                self.report(f"{name}: loss on {len(self.texts)} texts")
                collected.forgotten[name] = model.forgetting(base, self.texts)
            model.close()
        if base is not None:
            base.close()
        return collected

    def _measure(self, collected: CollectedOutputs, measures: Measures) -> Results:
        """Measure every arm, and put them side by side."""
        found: dict[tuple[str, str], Measured] = {}
        references = self._references(collected.outputs) if measures.judge is not None else [None] * len(self.inputs)
        for (name, temperature), outputs in collected.outputs.items():
            label = name if temperature == GIVEN else f"{name} at temperature {temperature}"
            self.report(f"{label}: measuring")
            found[name, temperature] = measures.of(label, self.inputs, outputs, references, self.sets)
            self.warnings += found[name, temperature].warnings
            if (kl := collected.kls.get((name, temperature))) is not None:
                found[name, temperature].figures["kl"] = kl
            if forgotten := collected.forgotten.get(name):
                found[name, temperature].figures["forgetting"] = forgotten
        quality = next((name for name in ("pvr", *measures.scores) if _has(found, name)), None)
        if quality is None:
            self.warnings.append("Quality was not measured, so there are no curves; name a judge or a reward.")
        level = "per_input" if "per_input" in measures.levels else next(iter(measures.levels), None)
        diversity = f"{level}.{next(iter(measures.metrics))}" if level else None
        points = {
            name: _points({t: one for (other, t), one in found.items() if other == name}, quality, self.sets, diversity)
            for name in self.names
        }
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
                    "temperatures": {t: one.figures for (other, t), one in found.items() if other == name},
                }
                for name in self.names
            },
            "curves": draw_curves(
                points, reference=self.reference, free=self.free, share=quality == "pvr", seed=self.drawing.seed
            ),
            "outputs": collected.files,
            "warnings": list(dict.fromkeys(self.warnings)),
            "settings": {},
            "versions": versions(),
            "seconds": 0.0,
            "shifts": shifts,
        }

    def _shifts(self) -> dict[str, dict[str, Estimate]]:
        if len(self.sets) < 2:
            return {}
        prompts = {where: [one.text for one in self.inputs if one.where == where] for where in self.sets}
        return shifts_of(prompts, encoder=self.encoder)

    def _references(self, outputs: Mapping[tuple[str, str], list[list[str]]]) -> list[str | None]:
        if self.baseline is None:
            missing = sum(one.reference is None for one in self.inputs)
            if missing:
                self.warnings.append(f"{missing} of {len(self.inputs)} inputs have no reference, and are not judged.")
            return [one.reference for one in self.inputs]
        temperatures = [t for name, t in outputs if name == self.baseline]
        return [texts[0] for texts in outputs[self.baseline, reference_temperature(temperatures)]]

    def _settings(self, measures: Measures) -> dict[str, Any]:
        """Return what figures depend on."""
        return {
            "sources": self.sources,
            "inputs": {where: sum(one.where == where for one in self.inputs) for where in self.sets},
            "outputs_per_input": self.k,
            **{name: value for name, value in asdict(self.drawing).items() if name not in ("params", "overwrite")},
            **{name: value for name, value in asdict(self.drawing.params).items() if name != "temperature"},
            "metrics": list(measures.metrics),
            "levels": list(measures.levels),
            "baseline": self.baseline,
            "kl_from": self.kl_from,
            "texts": len(self.texts),
            "free": self.free,
        }


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
