"""Objects that a recipe names: task, judge, metrics; and what tells them from others of their names."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.data import Task, load_task
from genrlhf.data.schema import check_rows
from genrlhf.errors import ConfigError, DataError, excerpt
from genrlhf.places import load_place
from genrlhf.studies.recipe import near_miss
from genrlhf.trainers.describe import Description

if TYPE_CHECKING:
    from genrlhf.types import DiversityMetric, Judge

__all__ = ["JudgeOf", "described", "judge_of", "metrics_of", "task_of"]

_HOW_FAST = ("concurrency", "timeout", "max_retries", "prices", "budget", "api_key", "batch_size")
"""Options of a judge that change no verdict."""


def described(value: Any) -> Any:
    """Return what tells a function or an object from others, as JSON."""
    return Description().of(value)


def task_of(given: Any) -> Task:
    """Return the task that a recipe names.

    Raises:
        ConfigError: there is none, or what is there is no task.
        DataError: it has nothing to be compared on.
    """
    task = _load_task(given)
    if not isinstance(task, Task):
        raise ConfigError(f"task is a {type(task).__name__}; it must be a genrlhf.Task, or what returns one.")
    if "id" not in task.evaluation:
        raise DataError(
            f"The task {task.name!r} has the evaluation sets {', '.join(task.evaluation) or 'none'}; one must be 'id', "
            "the set in distribution."
        )
    for name, rows in task.evaluation.items():
        check_rows(rows, ["prompt"], source=f"the evaluation set {name!r} of the task {task.name!r}")
    return task


def _load_task(given: Any) -> Any:
    if isinstance(given, Task):
        return given
    options = dict(given) if isinstance(given, Mapping) else {"name": given}
    name = options.pop("name", None)
    if callable(name):
        return name(**options)
    if not isinstance(name, str):
        raise ConfigError(f"task is {excerpt(given)}; give a task's name, or a mapping with its name and options.")
    if ":" not in name:
        return load_task(name, **options)
    load = load_place(name, f"The task {name!r}")
    if isinstance(load, Task):
        return load
    try:
        return load(**options)
    except TypeError as error:
        raise ConfigError(
            f"The task {name!r} cannot be made with {', '.join(options) or 'nothing'}: {error}."
        ) from error


@dataclass(frozen=True)
class JudgeOf:
    """What decides which of two outputs is better.

    Attributes:
        known: what tells it from others, as JSON.
        reward: the reward model that it is, an arm or a model; None for another judge.
        make: makes it, from the reward where it is one.
        costs: asks an endpoint or a large model, so that it is not asked about whole pools of samples.
    """

    known: Any
    make: Callable[[Any], Judge]
    reward: str | None = None
    costs: bool = False


def judge_of(given: Any, task: Task, store: Path) -> JudgeOf | None:
    """Return the judge that a recipe names, None for none.

    Args:
        given: as `Recipe.judge`.
        task: whose true score may be it.
        store: file that keeps the answers of judges that cost something.

    Raises:
        ConfigError: for anything else.
        DataError: "gold", where the task has no true score.
    """
    from genrlhf.metrics.preference import ScoreJudge

    if given == "auto":
        given = "gold" if task.gold is not None else None
    if given is None:
        return None
    if given == "gold":
        gold = task.gold
        if gold is None:
            raise DataError(
                f"judge is gold, and the task {task.name!r} has no true score; name another judge, or none."
            )
        return JudgeOf({"gold": described(gold)}, lambda _: ScoreJudge(gold))
    if isinstance(given, str) and given.startswith("reward:"):
        return JudgeOf("reward", ScoreJudge, reward=given.removeprefix("reward:"))
    if isinstance(given, Mapping) and len(given) == 1:
        return _asked(given, store)
    if isinstance(given, str) and ":" in given:
        given = load_place(given, f"The judge {given!r}")
        given = given() if isinstance(given, type) else given
    if callable(given):
        return JudgeOf(described(given), lambda _: given, costs=True)
    raise ConfigError(
        f"judge is {excerpt(given)}; it may be gold, reward:NAME, a mapping of openai or local to options, "
        "package.module:name, or none."
    )


def _asked(given: Mapping[str, Any], store: Path) -> JudgeOf:
    from genrlhf.metrics.preference import AnswerStore, OpenAIJudge, judge_template

    ((kind, options),) = given.items()
    if kind not in ("openai", "local") or not isinstance(options, Mapping) or "model" not in options:
        raise ConfigError(f"judge is {excerpt(dict(given))}; give openai or local, with a model and further options.")
    rest = dict(options)
    template = judge_template(**{name: rest.pop(name) for name in ("task", "answer") if name in rest})
    known = {kind: {name: value for name, value in options.items() if name not in _HOW_FAST}}

    def make(_: Any) -> Judge:
        answers = AnswerStore(store)
        try:
            if kind == "openai":
                return OpenAIJudge(rest.pop("model"), template, store=answers, **rest)
            return _local(rest, template, answers)
        except TypeError as error:
            raise ConfigError(f"judge.{kind}: {error}.") from error

    return JudgeOf(known, make, costs=True)


def _local(options: dict[str, Any], template: Any, answers: Any) -> Judge:
    from genrlhf.models.fingerprint import model_fingerprint
    from genrlhf.studies.draws import sampler_of
    from genrlhf.studies.judges import LocalJudge

    model = options.pop("model")
    sampler = sampler_of(model, batch_size=options.pop("batch_size", 64))
    name = f"{Path(model).name}@{model_fingerprint(model)}"
    return LocalJudge(sampler, template, store=answers, name=name, **options)


def metrics_of(given: list[Any]) -> list[tuple[Any, Callable[[], DiversityMetric]]]:
    """Return what tells each metric from others, and what makes it.

    Raises:
        ConfigError: for a metric that there is not.
    """
    return [_metric(one) for one in given]


def _metric(given: Any) -> tuple[Any, Callable[[], DiversityMetric]]:
    from genrlhf.metrics.diversity.catalogue import METRICS

    if callable(given):
        return described(given), lambda: given
    options: dict[str, Any] = {}
    name = given
    if isinstance(given, Mapping) and len(given) == 1:
        ((name, options),) = given.items()
    if not isinstance(name, str) or not isinstance(options, Mapping):
        raise ConfigError(f"metrics has {excerpt(given)}; give names, or a mapping of one name to its options.")
    if name not in METRICS and ":" not in name:
        hint = near_miss(name, list(METRICS))
        remedy = f"{hint}?" if hint else f"; there are {', '.join(METRICS)}."
        raise ConfigError(f"metrics: there is no metric {name!r}{remedy}")
    return {name: dict(options)}, lambda: _made(name, options)


def _made(name: str, options: Mapping[str, Any]) -> DiversityMetric:
    catalogue = importlib.import_module("genrlhf.metrics.diversity.catalogue")
    if ":" in name:
        found = load_place(name, f"The metric {name!r}")
        return found(**options) if isinstance(found, type) else found  # type: ignore[no-any-return]
    rest = dict(options)
    made: dict[str, Any] = {}
    if "model" in rest:
        from genrlhf.metrics.diversity.nli_scorer import SharedScorer

        model = rest.pop("model")
        embedder = catalogue.Embedder(model)
        made = {"embedder": embedder, "scorer": SharedScorer(model), "bert_score_model": model}
    try:
        metric_options = catalogue.MetricOptions(**made, **rest)
    except TypeError as error:
        raise ConfigError(f"metrics.{name}: {error}.") from error
    return catalogue.METRICS[name](metric_options)  # type: ignore[no-any-return]
