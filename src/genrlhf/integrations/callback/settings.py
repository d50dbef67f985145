"""What `DiversityCallback` was given, checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from genrlhf.data.chat import Prompt, is_message, prompt_of
from genrlhf.data.schema import check_text
from genrlhf.errors import ConfigError, DataError, excerpt
from genrlhf.metrics.diversity.catalogue import MetricOptions, build_metrics
from genrlhf.metrics.diversity.evaluation import Level
from genrlhf.metrics.diversity.set_metric import as_set_metric
from genrlhf.rewards.checks import reward_name
from genrlhf.rewards.signatures import RESERVED
from genrlhf.types import DiversityMetric, SamplingParams, UsesLogprobs

if TYPE_CHECKING:
    from genrlhf.rewards import RewardSource

__all__ = ["DISTINCT_VALID", "ENDED", "LEVELS", "PREFIX", "REWARD", "VALID", "Settings", "named_metrics", "rows_of"]

PREFIX = "diversity/"
REWARD, VALID, DISTINCT_VALID, ENDED = "reward", "valid", "distinct_valid", "ended"
LEVELS: tuple[Level, ...] = ("per_input", "across_input")


@dataclass(frozen=True)
class Settings:
    """What is sampled and how it is measured.

    Attributes:
        rows: with a `prompt` each.
        n: completions of each.
        metrics: by name.
        params: how completions are drawn.
        seed: of the completions.
        reward: scores completions.
        verifier: says of completions whether they are valid.
        stop_below: by the names of figures, where a run is stopped.
        batch_size: completions drawn at a time.
        table_prompts: prompts whose completions go to loggers.
        prompts: of the rows, as samplers take them.
    """

    rows: Sequence[Mapping[str, Any]]
    n: int
    metrics: Mapping[str, DiversityMetric]
    params: SamplingParams
    seed: int
    reward: RewardSource | None
    verifier: Any
    stop_below: Mapping[str, float]
    batch_size: int
    table_prompts: int
    prompts: list[Prompt] = field(init=False)

    def __post_init__(self) -> None:
        for name, least in (("n", 1), ("batch_size", 1), ("table_prompts", 0), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(f"{name} must be a whole number of at least {least}, not {excerpt(value)}.")
        if self.verifier is not None and not callable(self.verifier):
            raise ConfigError(
                f"verifier is a {type(self.verifier).__name__}; give a callable of prompts and completions that "
                "returns True or False for each completion."
            )
        object.__setattr__(self, "prompts", [prompt_of(row, f"prompts, row {i}") for i, row in enumerate(self.rows)])
        if any(isinstance(metric, UsesLogprobs) for metric in self.metrics.values()):
            object.__setattr__(self, "params", replace(self.params, logprobs=True))
        object.__setattr__(self, "stop_below", self._floors())

    def _floors(self) -> dict[str, float]:
        known = self.figure_names()
        floors = {name.removeprefix(PREFIX): floor for name, floor in self.stop_below.items()}
        for name, floor in floors.items():
            if name not in known:
                raise ConfigError(
                    f"stop_below names {excerpt(name)}, which is not measured; there are {', '.join(known)}."
                )
            if not isinstance(floor, (int, float)) or isinstance(floor, bool) or floor != floor:
                raise ConfigError(f"stop_below[{name!r}] is {excerpt(floor)}; give a number.")
        return floors

    @property
    def columns(self) -> list[str]:
        """The names of what else stands in rows, for reward and verifier."""
        return sorted({name for row in self.rows for name in row} - {"prompt"})

    def figure_names(self) -> list[str]:
        """Return the names of the figures that can come of it, those first that have a level."""
        sizes = {"per_input": self.n, "across_input": len(self.rows)}
        names = [
            f"{level}/{name}"
            for level in LEVELS
            for name, metric in self.metrics.items()
            if sizes[level] >= max(2, as_set_metric(metric).min_texts)
            and not (level == "across_input" and isinstance(metric, UsesLogprobs))
        ]
        names += [REWARD] if self.reward is not None else []
        return [*names, *([VALID, DISTINCT_VALID] if self.verifier is not None else []), ENDED]

    def described(self) -> dict[str, Any]:
        """Return what makes the outputs of two starts those of one run, as JSON."""
        digest = hashlib.sha256(json.dumps([row["prompt"] for row in self.rows], sort_keys=True).encode())
        params = {**asdict(self.params), "stop": list(self.params.stop)}
        return {"prompts": digest.hexdigest()[:16], "n": self.n, "seed": self.seed, **params}


def rows_of(prompts: Any) -> list[dict[str, Any]]:
    """Return prompts as rows: texts, conversations, or rows that have a `prompt` already.

    Raises:
        DataError: for anything else, naming the row.
    """
    if isinstance(prompts, (str, bytes, Mapping)) or not hasattr(prompts, "__len__"):
        raise DataError(
            f"prompts is {excerpt(prompts)}; give a list of texts, of conversations, or of rows with a prompt, or a "
            "datasets.Dataset of such rows."
        )
    rows = []
    for number, item in enumerate(prompts):
        where = f"prompts, row {number}"
        if isinstance(item, Mapping) and "prompt" not in item:
            hint = "put every conversation into a list" if is_message(item) else "rename a column"
            raise DataError(f"{where} has no 'prompt', only {', '.join(map(repr, item))}; {hint}.")
        row = dict(item) if isinstance(item, Mapping) else {"prompt": item}
        check_text(row["prompt"], f"{where}, column 'prompt'")
        if taken := [name for name in RESERVED if name in row]:
            raise DataError(f"{where} has a column {taken[0]!r}, the name under which a reward gets those; rename it.")
        rows.append(row)
    if not rows:
        raise DataError("prompts is empty; give at least one, better some dozens.")
    return rows


def named_metrics(metrics: Any) -> dict[str, DiversityMetric]:
    """Return metrics by their names: of `genrlhf diversity`, or objects, or a mapping of such.

    Raises:
        ConfigError: for a name that none has, one name for two, or what is no metric.
    """
    if isinstance(metrics, (str, DiversityMetric)):
        metrics = [metrics]
    if isinstance(metrics, Mapping):
        return {str(name): _metric(metric) for name, metric in metrics.items()}
    found: dict[str, DiversityMetric] = {}
    for each in metrics:
        metric = _metric(each)
        name = each if isinstance(each, str) else metric.name
        if name in found:
            raise ConfigError(f"Two metrics are called {name!r}; give them as a dictionary, by names of your own.")
        found[name] = metric
    if not found:
        raise ConfigError("metrics is empty; name at least one, such as 'ead'.")
    return found


def _metric(metric: Any) -> DiversityMetric:
    if isinstance(metric, str):
        return build_metrics([metric], MetricOptions())[metric]
    if not (callable(metric) and isinstance(metric, DiversityMetric)):
        raise ConfigError(
            f"{excerpt(metric)} ({reward_name(metric)}) is no metric; give a name such as 'ead', or an object of "
            "genrlhf.metrics such as EAD()."
        )
    return metric
