"""A study: methods on one task, trained, sampled and measured alike; as YAML or Python objects say."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.data.files import replacing
from genrlhf.studies.assemble import curves_of, over_seeds, plane_of, versions
from genrlhf.studies.crossing import crossing_over_seeds
from genrlhf.studies.folder import StudyFolder
from genrlhf.studies.given import described, task_of
from genrlhf.studies.graph import Graph, Stage, StageContext
from genrlhf.studies.plan import Drawn, Plan
from genrlhf.studies.recipe import Recipe, checked, read_recipe
from genrlhf.studies.record import Record, read_record
from genrlhf.studies.results import FILE_NAME, Figures, Results, from_json, read_results, write_results
from genrlhf.studies.running import run
from genrlhf.studies.seeds import seeds_note
from genrlhf.studies.shifts import gap_per_shift
from genrlhf.studies.stages.sample import OUTPUTS

if TYPE_CHECKING:
    from genrlhf.data import Task

__all__ = ["Study", "load_study"]


class Study:
    """Methods side by side on one task.

    Every stage (training, preferences, samples, figures) lies in a folder of its own below `output_dir/stages`, and is
    known by its content: what is there is not made again, a study that was killed goes on, and a method or seed that is
    added costs its own stages only. The figures go to `output_dir/results.json`.

    Args:
        recipe: fields of `Recipe`: `task`, `methods`, `seeds`, `sampling`, …

    Raises:
        ConfigError: naming the field that is wrong.
        DataError: a method needs what the task has not.

    Example:
        >>> from genrlhf.studies import Study
        >>> sizes = {"n_demonstrations": 8, "n_preferences": 8, "n_prompts": 8, "n_evaluation": 4}
        >>> study = Study(task={"name": "embedded", **sizes}, methods={"sft": {"max_steps": 1}, "base": {}})
        >>> [stage.name for stage in study.graph()][:2]
        ['sft/seed-0', 'sample/sft@1.0/id/seed-0']
    """

    def __init__(self, **recipe: Any) -> None:
        self.recipe: Recipe = checked(Recipe, recipe, "")

    @classmethod
    def of(cls, recipe: Recipe) -> Study:
        """Return the study of a recipe."""
        study = cls.__new__(cls)
        study.recipe = recipe
        return study

    @classmethod
    def from_yaml(cls, path: str | Path, **changes: Any) -> Study:
        """Return the study that a YAML file describes, with some of its fields changed.

        Raises:
            ConfigError: naming the field that is wrong.
        """
        return cls.of(read_recipe(path, **changes))

    @property
    def folder(self) -> Path:
        """Where everything goes."""
        return Path(self.recipe.output_dir)

    @cached_property
    def task(self) -> Task:
        """The data."""
        return task_of(self.recipe.task)

    @cached_property
    def plan(self) -> Plan:
        """What is compared, and by which stages."""
        return Plan(self.recipe, self.task, self.recipe.model or self.task.model, self.folder)

    def graph(self) -> Graph:
        """Return all stages; the last one, `results`, needs the others and writes `results.json`."""
        return self._graph

    @cached_property
    def _graph(self) -> Graph:
        measured = [stage for drawn in self.plan.drawn for stage in (*drawn.samples.values(), *drawn.measured.values())]
        measured += [] if self.plan.shifts is None else [self.plan.shifts]
        return Graph([*measured, self._results(list(Graph(measured)))])

    def check(self) -> None:
        """Check what can be known before the work, settings of all trainers included.

        Raises:
            ConfigError: naming the field that is wrong.
            DataError: a method needs what the task has not.
        """
        self.plan.check()

    def run(
        self,
        report: Callable[[str], None] = lambda message: None,
        *,
        jobs: int = 1,
        threads: int | None = None,
        keep_going: bool = False,
    ) -> Results:
        """Make the stages that are not there, and return the results.

        Args:
            report: says in one line what goes on.
            jobs: stages that are made at a time, each in a process of its own; with 1, all in this one.
            threads: of each process; by default those that torch has here, divided by `jobs`. Another number may round
                otherwise.
            keep_going: where a stage fails, make all that does not need it, and raise at the end; `so_far` has what was
                measured.
        """
        self.check()
        options: dict[str, Any] = {"jobs": jobs, "threads": threads, "keep_going": keep_going}
        run(self.graph(), self.folder, report=report, remake=self.graph, **options)
        return self.results()

    def __reduce__(self) -> tuple[Any, ...]:
        return Study.of, (self.recipe,)

    def summary(self, results: Results) -> str:
        """Return the results as a table for a terminal."""
        from genrlhf.studies.results_text import results_table

        return results_table(results)

    def records(self) -> dict[str, Record]:
        """Return what is known of every stage that is done, by its name."""
        places = StudyFolder(self.folder, self.graph())
        return {stage.name: places.record_of(stage) for stage in self.graph() if places.is_done(stage)}

    def folder_of(self, stage: str) -> Path:
        """Return the folder of a stage."""
        return StudyFolder(self.folder, self.graph()).of(self.graph()[stage])

    def results(self) -> Results:
        """Put the results of this study into `output_dir`, where those of another may lie, and return them."""
        self._publish(self.folder_of("results"))
        return read_results(self.folder)

    def _publish(self, made: Path) -> None:
        with replacing(self.folder / FILE_NAME) as partial:
            shutil.copyfile(made / FILE_NAME, partial)

    def so_far(self) -> Results:
        """Return the results of what has been measured by now, with a warning where that is not all; writes nothing."""
        places = StudyFolder(self.folder, self.graph())
        done = [stage for stage in self.graph() if stage.name != "results" and places.is_done(stage)]
        context = StageContext(
            folders={stage.name: places.of(stage) for stage in done},
            figures={stage.name: places.record_of(stage).figures for stage in done},
        )
        measured = [
            drawn
            for drawn in self.plan.drawn
            if context.folders.keys() >= {stage.name for stage in (*drawn.samples.values(), *drawn.measured.values())}
        ]
        results = self._assembled(context, measured)
        if not places.is_done(self.graph()["results"]):
            much = f"{len(done)} of {len(self.graph())} stages are done"
            results["warnings"].insert(0, f"This study is not finished: {much}, and what they have measured is shown.")
        return results

    def _results(self, stages: list[Stage]) -> Stage:
        def write(folder: Path, context: StageContext) -> Mapping[str, Any]:
            write_results(self._assembled(context, self.plan.drawn), folder, home=self.folder)
            self._publish(folder)
            return {"methods": list(self._labels)}

        settings = {"title": self._title, "labels": self._labels, "reference": self.plan.reference}
        return Stage("results", settings, {stage.name: stage for stage in stages}, write)

    @property
    def _labels(self) -> dict[str, str]:
        return {drawn.arm.name: drawn.arm.label for drawn in self.plan.drawn}

    @property
    def _title(self) -> str:
        return self.recipe.title or f"{', '.join(self._labels.values())} on {self.task.name}"

    def _assembled(self, context: StageContext, every: Sequence[Drawn]) -> Results:
        figures = self._figures(context, every)
        methods: dict[str, Any] = {}
        for drawn in every:
            arm = drawn.arm
            said = {"label": arm.label, "paper": arm.paper, "loop": arm.loop, "free": arm.free, "temperatures": {}}
            methods.setdefault(arm.name, said)["temperatures"][drawn.temperature] = figures[arm.name, drawn.temperature]
        quality, diversity = plane_of(list(figures.values()))
        reference = self.plan.reference if self.plan.reference in methods else None
        sets = sorted(self.task.evaluation, key="id".__ne__)
        shifts = from_json(context.figures_of("shifts")["shifts"]) if "shifts" in context.figures else {}
        self._cross(figures)
        for each in figures.values():
            slopes = gap_per_shift(each, quality, sets, shifts)
            each |= {"gap_per_shift": slopes} if slopes else {}
        curves = curves_of(
            figures,
            quality=quality,
            diversity=diversity,
            several=min(self.recipe.sampling.diversity_inputs, len(self.task.evaluation["id"])),
            reference=reference,
            free=[name for name, method in methods.items() if method["free"]],
        )
        note = seeds_note(len(self.recipe.seeds))
        known = {name: found.seconds for name, at in context.folders.items() if (found := read_record(at)) is not None}
        return {
            "title": self._title,
            "sets": sets,
            "quality": quality,
            "diversity": diversity,
            "reference": reference,
            "methods": methods,
            "curves": curves,
            "outputs": self._outputs(context, every),
            "warnings": [note[:1].upper() + note[1:]] if note else [],
            "settings": _as_json(self.recipe),
            "versions": versions(),
            "seconds": sum(known.values()),
            "shifts": shifts,
            "stages": known,
        }

    def _figures(self, context: StageContext, every: Sequence[Drawn]) -> dict[tuple[str, str], Figures]:
        """Return the figures of every arm at every temperature, over its seeds."""
        found: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
        for drawn in every:
            figures: dict[str, Any] = {}
            for stage in drawn.measured.values():
                figures |= from_json(dict(context.figures_of(stage.name)))
            figures.pop("best_of_n_curve", None)
            found.setdefault((drawn.arm.name, drawn.temperature), {})[drawn.seed] = figures
        return {at: over_seeds(by_seed) for at, by_seed in found.items()}

    def _cross(self, figures: dict[tuple[str, str], Figures]) -> None:
        """Take the verdicts of every seed out of the figures, and put in where the base model overtakes."""
        verdicts = {at: [seed.pop("verdicts", None) for seed in each["seeds"].values()] for at, each in figures.items()}
        for each in figures.values():
            each.pop("verdicts", None)  # type: ignore[typeddict-item]
        base = self.plan.untrained
        for (name, temperature), ours in verdicts.items():
            theirs = verdicts.get((base or "", temperature))
            if name == base or theirs is None or None in ours or None in theirs:
                continue
            found = crossing_over_seeds(theirs, ours)
            if found is not None:
                told = {key: value for key, value in found.to_dict().items() if not key.startswith("pass@")}
                figures[name, temperature]["crossing"] = {"base": base, **told}

    def _outputs(self, context: StageContext, every: Sequence[Drawn]) -> list[Any]:
        return [
            {
                "method": drawn.arm.name,
                "temperature": drawn.temperature,
                "seed": drawn.seed,
                "set": name,
                "file": Path(os.path.relpath(context.folder_of(stage.name) / OUTPUTS, self.folder)).as_posix(),
            }
            for drawn in every
            for name, stage in drawn.samples.items()
        ]


def load_study(path: str | Path, **changes: Any) -> Study:
    """Return the study that a YAML file describes.

    Args:
        path: of the file.
        changes: fields of the recipe that are to be others, such as `output_dir`; None leaves one as it is.

    Raises:
        ConfigError: naming the field that is wrong.
    """
    return Study.from_yaml(path, **{name: value for name, value in changes.items() if value is not None})


def _as_json(recipe: Recipe) -> dict[str, Any]:
    """Return what was asked for, objects by what is known of them."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return value if isinstance(value, (str, int, float, bool, type(None))) else described(value)

    given = recipe.model_dump(exclude={"task"}, exclude_unset=True, by_alias=True)
    name = getattr(recipe.task, "name", recipe.task)
    return {str(key): plain(item) for key, item in {"task": name, **given}.items()}
