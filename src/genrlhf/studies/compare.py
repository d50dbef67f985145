"""Checkpoints and files of outputs side by side: nothing is trained."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.data.asking import asking_of
from genrlhf.data.lock import locked
from genrlhf.errors import ConfigError, DataError, excerpt
from genrlhf.launchers import number_of_this_process
from genrlhf.metrics.diversity.evaluation import LEVELS, Level
from genrlhf.models.loading import load_tokenizer
from genrlhf.models.processes import gathered
from genrlhf.studies.compare_figures import Measures
from genrlhf.studies.compare_inputs import Input, common_inputs, inputs_of, sets_of
from genrlhf.studies.compare_models import AskedModel, Drawing
from genrlhf.studies.compare_outputs import CollectedOutputs, row_of
from genrlhf.studies.compare_results import SideBySide
from genrlhf.studies.compare_sources import Source, Sources, is_outputs_file
from genrlhf.studies.compare_stages import Asked, drawn
from genrlhf.studies.making import Report
from genrlhf.studies.results import FILE_NAME, Results, write_results
from genrlhf.studies.team import join
from genrlhf.types import DiversityMetric, Judge, RewardFunction, SamplingParams

if TYPE_CHECKING:
    import os

    from genrlhf.metrics.diversity.embeddings import Embedder, Encoder

__all__ = ["Comparison", "is_outputs_file", "run_comparison"]


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
    jobs: int = 1,
    launcher: str | None = None,
) -> Results:
    """Compare models and files of outputs on the same prompts, and write `results.json` to `output_dir`.

    What models draw is kept in `output_dir/stages`, a line for every prompt as it comes, so that the same call goes on
    where a killed one stopped, and outputs of all sources are in `output_dir/outputs` at the end. In several processes
    of a launcher all draw, the main one measures, and each returns what that has found.

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
        jobs: so many of a model, a temperature and a set are sampled at a time, each in a process of its own, with a
            GPU of its own where there are several.
        launcher: a command such as "accelerate launch --num_processes 2", in whose processes models are sampled.

    Returns:
        What `read_results` reads.

    Raises:
        ConfigError: a setting, or a name, that cannot work.
        DataError: a file without outputs, other prompts, no references for a judge, too few outputs for a metric.
        ModelError: a model that is no causal language model.
        RunFolderError: another process compares in `output_dir`.
    """
    join()
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
    measures = Measures(metrics, levels, judge, scores)
    main = comparison.draw(jobs=jobs, launcher=launcher)
    return gathered(lambda: [comparison.measure(measures, settings)] if main else [])[0]


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
        self.sources = Sources.of(
            sources,
            trust_remote_code=self.drawing.trust_remote_code,
            free=free,
            reference=reference,
            baseline=baseline,
            kl_from=kl_from,
        )
        self.reference, self.baseline, self.free = reference or self.sources.names[0], baseline, list(free)
        self.kl_from, self.texts, self.encoder = kl_from, list(texts), encoder
        if self.texts and kl_from is None:
            raise ConfigError("texts need the model that the others come from; name it (--kl-from NAME, kl_from).")
        if kl_from is not None:
            self._check_kl(kl_from)
        for name in self.drawing.verbalized:
            if name not in self.sources.models:
                known = name in self.sources.given
                what = "a file of outputs" if known else f"none of {', '.join(self.sources.names)}"
                raise ConfigError(f"verbalized names {excerpt(name)}, which is {what}; name a model.")
        self.warnings: list[str] = []
        self.inputs: list[Input] = []
        self.asked: list[Input] = []
        self.k = 0

    def _check_kl(self, name: str) -> None:
        """Raise `ConfigError` where there is no KL from a source."""
        if name in self.sources.given:
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
            if not self.sources.given:
                raise ConfigError("There are no prompts; give some (--prompts FILE or --task NAME), or outputs.")
            name, file = next(iter(self.sources.given.items()))
            prompts = file.rows.values()
        self.asked = inputs_of(prompts, source=name, limit=limit, warnings=self.warnings)
        self.inputs = common_inputs(self.asked, list(self.sources.given.values()), source=name, warnings=self.warnings)
        self.sets = sets_of(self.inputs)

    def check(self, metrics: Mapping[str, DiversityMetric], levels: Sequence[Level], *, judged: bool) -> None:
        """Check what can be known before the work."""
        if not metrics and levels:
            raise ConfigError("There are no metrics of diversity; name at least one, such as ead.")
        least = {name: min(len(file.outputs(one)) for one in self.inputs) for name, file in self.sources.given.items()}
        counts = {**{name: self.drawing.n for name in self.sources.models}, **least}
        self.k = min(counts.values())
        fewest = min(counts, key=counts.__getitem__)
        if "per_input" in levels and self.k < 2:
            raise DataError(
                f"{fewest} has {self.k} output of an input, and the diversity of an input needs two; draw more (-n), "
                "or measure across inputs only (--levels across_input)."
            )
        if max(counts.values()) > self.k or any(
            len(file.outputs(one)) > self.k for file in self.sources.given.values() for one in self.inputs
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
        for name, model in self.sources.models.items():
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

    def draw(self, *, jobs: int = 1, threads: int | None = None, launcher: str | None = None) -> bool:
        """Draw what is not there, and return whether this process measures: of those of a launcher one does.

        Args:
            jobs: so many of a model, a temperature and a set at a time, each in a process of its own.
            threads: of each of these processes.
            launcher: a command in whose processes models are sampled.
        """
        models = [self._asked(name, model) for name, model in self.sources.models.items()]
        rows = {where: [row_of(one) for one in self.asked if one.where == where] for where in self.sets}
        prompts = [one.prompt for one in self.inputs if one.where == self.sets[0]]
        asked = Asked(self.folder, self.drawing, models, rows, self.kl_from, prompts, self.texts)
        drawn(asked, report=self.report, jobs=jobs, threads=threads, launcher=launcher)
        self.collected = CollectedOutputs(asked, self.inputs, self.sets, self.k, self.warnings)
        return number_of_this_process() == 0

    def _asked(self, name: str, model: str) -> AskedModel:
        asking = None if self.drawing.ignore_asking else asking_of(model)
        if asking is not None:
            self.warnings.append(
                f"{name} is asked as its folder says: {excerpt(str(asking))}; --ignore-asking (ignore_asking=True) "
                "leaves that out."
            )
        return AskedModel(name, model, self.sources.known[name]["weights"], self.chats[name], asking)

    def measure(self, measures: Measures, settings: Mapping[str, Any] | None = None) -> Results:
        """Measure what was drawn and given, and write `results.json`, which keeps further settings."""
        with locked(self.folder / FILE_NAME):
            for name in self.sources.names:
                if name in self.sources.given:
                    self.collected.take(name, self.sources.given[name])
                else:
                    self.collected.collect(name, self.asked)
            side_by_side = SideBySide(
                names=self.sources.names,
                inputs=self.inputs,
                sets=self.sets,
                reference=self.reference,
                baseline=self.baseline,
                free=self.free,
                encoder=self.encoder,
                seed=self.drawing.seed,
                report=self.report,
            )
            results = side_by_side.measured(self.collected, measures, self.warnings)
            results["settings"] = {**self._settings(measures), **(settings or {})}
            results["seconds"] = round(time.monotonic() - self.start, 1)
            write_results(results, self.folder)
        return results

    def _settings(self, measures: Measures) -> dict[str, Any]:
        """Return what figures depend on."""
        return {
            "sources": self.sources.known,
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
