"""From a recipe to the graph of its stages: what each depends on, and what it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.data.log import recover_records
from genrlhf.models.loading import check_causal_lm
from genrlhf.studies.arm_settings import ArmSettings, settings_of
from genrlhf.studies.arms import Arm, ModelOf, RewardTerm, model_of, resolve_arms
from genrlhf.studies.drawing import drawing_stage
from genrlhf.studies.forgetting import forgetting_stage
from genrlhf.studies.given import JudgeOf, described, judge_of, metrics_of
from genrlhf.studies.graph import Stage, StageContext
from genrlhf.studies.ingredients import Ingredients
from genrlhf.studies.recipe import Recipe, Sampling
from genrlhf.studies.results import temperature_key, to_json
from genrlhf.studies.shifts import shifts_stage
from genrlhf.studies.stages.forgetting import texts_of
from genrlhf.studies.stages.interpolate import check_vocabularies
from genrlhf.studies.stages.measure import kl_bound, measure, measured_kl, pool_figures, scores
from genrlhf.studies.stages.sample import OUTPUTS, POOL
from genrlhf.studies.stages.solutions import checker_of, solution_figures
from genrlhf.studies.stages.train import peft_config
from genrlhf.studies.workshop import Workshop

if TYPE_CHECKING:
    from genrlhf.data import Task

__all__ = ["Drawn", "Plan"]


@dataclass(frozen=True)
class Drawn:
    """The stages of one arm at one temperature and seed.

    Attributes:
        arm: the arm.
        temperature: as a text, see `temperature_key`.
        seed: of training and sampling.
        samples: by evaluation set.
        measured: those whose figures together are the arm's.
    """

    arm: Arm
    temperature: str
    seed: int
    samples: Mapping[str, Stage]
    measured: Mapping[str, Stage]


@dataclass
class Plan:
    """The stages of a study.

    Args:
        recipe: of the study.
        task: its data.
        base: the base model.
        folder: the study's, where answers of judges are kept.

    Raises:
        ConfigError: naming the entry and the field that cannot be.
        DataError: a method needs what the task has not.
    """

    recipe: Recipe
    task: Task
    base: str | None
    folder: Path
    arms: dict[str, Arm] = field(init=False)
    drawn: list[Drawn] = field(init=False)

    def __post_init__(self) -> None:
        self.arms = resolve_arms(self.recipe, self.task, self.base)
        self.settings: dict[str, ArmSettings] = {
            name: settings_of(arm, self.recipe.sampling) for name, arm in self.arms.items() if arm.method is not None
        }
        for name, arm in self.arms.items():
            peft_config(arm.entry.peft, f"methods.{name}")
        self.metrics = metrics_of(self.recipe.metrics)
        self.judge: JudgeOf | None = judge_of(self.recipe.judge, self.task, self.folder / "judge-answers.sqlite")
        self.checker = checker_of(self.recipe.checker, self.task.gold)
        self.shop = Workshop(self.recipe.sampling.batch_size)
        self.made = Ingredients(self.recipe, self.task, self.arms, self.settings, self.shop)
        compared = [arm for arm in self.arms.values() if arm.compare]
        # In the recipe's order, and each whole before the next.
        compared.sort(key=lambda arm: list(self.recipe.methods).index(arm.name))
        self.drawn = [
            self._of(arm, temperature, seed)
            for seed in self.recipe.seeds
            for arm in compared
            for temperature in arm.sampling.temperatures
        ]

    @cached_property
    def shifts(self) -> Stage | None:
        """What measures how far the evaluation sets are from the one in distribution; None for a single one."""
        sets = {name: self.task.evaluation[name] for name in sorted(self.task.evaluation, key="id".__ne__)}
        data = {name: self.made.digest(rows) for name, rows in sets.items()}
        return self.made.stage(shifts_stage(sets, data, self.recipe.encoder)) if len(sets) > 1 else None

    @cached_property
    def reference(self) -> str | None:
        """The method whose model the KL is measured from."""
        default = "sft" if "sft" in self.arms else None
        return self.recipe.reference if self.recipe.reference is not None else default

    @cached_property
    def untrained(self) -> str | None:
        """The arm that samples the base model as it is, or else the reference: what pass@k is compared with."""
        plain = (
            arm.name
            for arm in self.arms.values()
            if arm.compare and arm.model == ModelOf(name=self.base or "") and not arm.entry.sampling
        )
        return next(plain, self.reference)

    @cached_property
    def reward(self) -> ModelOf | None:
        """The reward model whose scores are reported."""
        named = self.recipe.reward
        if named is not None and named != "auto":
            return ModelOf(arm=named) if named in self.arms else ModelOf(name=named)
        rewards = [name for name in self.recipe.methods if name in self.arms and self.arms[name].makes_reward]
        # What another one starts from, as CoOp CARP from CARP, is no reward yet.
        begun = {start.arm for name in rewards if (start := self.arms[name].start) is not None}
        first = next((name for name in rewards if name not in begun), None)
        return ModelOf(arm=first) if named == "auto" and first is not None else None

    def check(self) -> None:
        """Build the settings of every arm that is trained, as they will be.

        Raises:
            ConfigError: for values that cannot be, or not together.
        """
        for name, settings in self.settings.items():
            settings.build(self.arms[name], str(self.folder / "unused"), self.recipe.seeds[0])
        for arm in self.arms.values():
            for model in (arm.model, arm.start, *(arm.ends or ())):
                if model is not None and model.arm is None and not arm.makes_reward:
                    check_causal_lm(model.name)
            if arm.ends is not None:
                start, end = (self._origin(model) for model in arm.ends)
                if start != end:
                    check_vocabularies(start, end)

    def _origin(self, model: ModelOf) -> str:
        """Return the model, by name, that a model was trained from, and that it has its vocabulary of."""
        arm = self.arms[model.arm] if model.arm is not None else None
        if arm is None:
            return model.name
        return self._origin(arm.ends[1] if arm.ends is not None else arm.start or arm.model)

    def _of(self, arm: Arm, temperature: float, seed: int) -> Drawn:
        """Return all stages of an arm at one temperature."""
        key = temperature_key(temperature)
        at = f"{arm.name}@{key}"
        samples = {
            name: drawing_stage(self.made, self.shop, arm, name, rows, temperature=temperature, seed=seed)
            for name, rows in self.task.evaluation.items()
        }
        found = [
            self._kl(arm, temperature, seed, at),
            self._forgetting(arm, seed),
            self._rewarded(arm, samples, seed, at),
            self._measured(arm, samples, seed, at),
        ]
        return Drawn(arm, key, seed, samples, {stage.kind: stage for stage in found if stage is not None})

    def _kl(self, arm: Arm, temperature: float, seed: int, at: str) -> Stage | None:
        """Return what measures the KL; None where there is nothing to measure it from, or drawn otherwise."""
        if self.reference is None or self.reference not in self.arms or temperature == 0:
            return None
        if arm.sampling.verbalized is not None:
            return None
        params, n = arm.sampling.params(temperature), arm.sampling.best_of_n
        if params != Sampling(max_new_tokens=params.max_new_tokens, stop=params.stop).params(temperature):
            return None
        model = self.made.model(arm.model, seed, "model")
        reference = self.made.model(self.arms[self.reference].model, seed, "reference")
        same = model.identity == reference.identity
        if n is not None and not same:
            return None
        prompts = self.task.evaluation["id"]["prompt"]

        def run(folder: Path, context: StageContext) -> Mapping[str, Any]:
            if same:
                return {"kl": to_json(kl_bound(n or 1, len(prompts)), values=True)}
            samplers = [self.shop.sampler(each.at(context)) for each in (model, reference)]
            found = measured_kl(samplers[0], samplers[1], list(prompts), params, seed=seed + 1)
            if found is None:
                context.report("the KL is left out: the reference has another vocabulary")
            return {} if found is None else {"kl": to_json(found, values=True)}

        settings = {
            "model": model.known,
            "reference": reference.known,
            "best_of_n": n,
            "temperature": temperature,
            "max_new_tokens": params.max_new_tokens,
            "stop": list(params.stop),
            "seed": seed,
            "data": self.made.digest(self.task.evaluation["id"]),
            "asked": "each in its own way",
        }
        return self.made.stage(Stage(f"kl/{at}/seed-{seed}", settings, {**model.needs, **reference.needs}, run))

    @cached_property
    def _texts(self) -> list[str]:
        recipe = self.recipe.forgetting
        return [] if recipe is None else texts_of(recipe.texts, self.task, recipe.limit)

    def _forgetting(self, arm: Arm, seed: int) -> Stage | None:
        """Return what measures what a model has forgotten; None where nothing does."""
        recipe = self.recipe.forgetting
        if recipe is None:
            return None
        origin = model_of(recipe.base, self.arms, "forgetting.base", self.base)
        found = forgetting_stage(
            arm,
            seed,
            model=self.made.model(arm.model, seed, "model"),
            base=self.made.model(origin, seed, "base"),
            texts=self._texts,
            max_tokens=recipe.max_tokens,
            sampler=self.shop.sampler,
        )
        return None if found is None else self.made.stage(found)

    def _rewarded(self, arm: Arm, samples: Mapping[str, Stage], seed: int, at: str) -> Stage | None:
        if self.reward is None:
            return None
        reward, scorer = self.made.scorer((RewardTerm(self.reward),), seed)
        assert reward is not None

        def run(folder: Path, context: StageContext) -> Mapping[str, Any]:
            found = scores(_read(samples, context), scorer(context))
            return {"reward": to_json(found, values=True)}

        needs = {**{f"sample-{name}": stage for name, stage in samples.items()}, **reward.needs}
        return self.made.stage(Stage(f"reward/{at}/seed-{seed}", {"reward": reward.known}, needs, run))

    def _measured(self, arm: Arm, samples: Mapping[str, Stage], seed: int, at: str) -> Stage:
        judge, gold, n = self.judge, self.task.gold, arm.sampling.best_of_n
        checker = self.checker if self.recipe.sampling.diversity_inputs else None
        terms: tuple[RewardTerm, ...] = ()
        if judge is not None and judge.reward is not None:
            named = judge.reward
            terms = (RewardTerm(ModelOf(arm=named) if named in self.arms else ModelOf(name=named)),)
        reward, scorer = self.made.scorer(terms, seed)

        def run(folder: Path, context: StageContext) -> Mapping[str, Any]:
            judging = None if judge is None else judge.make(scorer(context))
            metrics = [make() for _, make in self.metrics]
            rows = _read(samples, context)
            figures = measure(rows, metrics=metrics, judge=judging, gold=gold)
            if checker is not None:
                figures |= solution_figures(rows["id"], checker)
            if n is not None and arm.sampling.group_reward is None:
                pool = recover_records(context.folder_of("sample-id") / POOL)
                curve = pool_figures(pool, n, None if judge is None or judge.costs else judging)
                figures["best_of_n_curve"] = curve
            found: Mapping[str, Any] = to_json(figures, values=True)
            return found

        settings = {
            "judge": None if judge is None else judge.known,
            "reward": None if reward is None else reward.known,
            "gold": None if gold is None else described(gold),
            "metrics": [known for known, _ in self.metrics],
            "sets": list(samples),
            "best_of_n": n,
            **({} if checker is None else {"checker": checker.known}),
        }
        needs = {f"sample-{name}": stage for name, stage in samples.items()}
        needs |= reward.needs if reward is not None else {}
        return self.made.stage(Stage(f"measure/{at}/seed-{seed}", settings, needs, run))


def _read(samples: Mapping[str, Stage], context: StageContext) -> dict[str, list[dict[str, Any]]]:
    """Return the outputs that were drawn, by evaluation set."""
    return {name: recover_records(context.folder_of(f"sample-{name}") / OUTPUTS) for name in samples}
