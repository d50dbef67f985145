"""What stages need: models, rewards and rows, made by other stages or there as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.data.fingerprint import dataset_fingerprint
from genrlhf.data.log import recover_records, replace_records
from genrlhf.models.fingerprint import model_fingerprint
from genrlhf.rewards import load_reward
from genrlhf.studies.arm_settings import ArmSettings
from genrlhf.studies.arms import Arm, ModelOf, RewardTerm, rows_of
from genrlhf.studies.code import method_code_digest
from genrlhf.studies.draws import policy_draw
from genrlhf.studies.given import described
from genrlhf.studies.graph import Stage, StageContext
from genrlhf.studies.recipe import Recipe, Sampling
from genrlhf.studies.stages.interpolate import interpolate
from genrlhf.studies.stages.preferences import (
    SAMPLES,
    draw_part,
    make_preferences,
    parts_of,
    read_preferences,
    refuse_unrated,
)
from genrlhf.studies.stages.train import peft_config, train
from genrlhf.studies.workshop import Workshop

if TYPE_CHECKING:
    from genrlhf.data import Task

__all__ = ["Found", "Ingredients"]


@dataclass(frozen=True)
class Found:
    """Something that stages need: what tells it from others, the stages it is made by, and where it then is.

    Attributes:
        known: settings of the stage that needs it.
        needs: by role.
        at: it, once these stages are done.
    """

    known: Any
    needs: Mapping[str, Stage]
    at: Callable[[StageContext], Any]

    @property
    def identity(self) -> Any:
        """What it is, whatever role it has."""
        return [stage.key for stage in self.needs.values()] or self.known


@dataclass
class Ingredients:
    """Finds what stages need, and makes the stages that make it.

    Attributes:
        recipe: of the study.
        task: its data.
        arms: by name.
        settings: of the arms that are trained.
        shop: what is loaded.
    """

    recipe: Recipe
    task: Task
    arms: Mapping[str, Arm]
    settings: Mapping[str, ArmSettings]
    shop: Workshop
    _stages: dict[str, Stage] = field(default_factory=dict)
    _digests: dict[int, Any] = field(default_factory=dict)
    _weights: dict[str, str] = field(default_factory=dict)

    def stage(self, stage: Stage) -> Stage:
        """Return a stage, the same for the same name."""
        return self._stages.setdefault(stage.name, stage)

    def digest(self, rows: Any) -> Any:
        """Return what tells rows from others by their contents."""
        if id(rows) not in self._digests:
            found = dataset_fingerprint(rows)
            # With the rows, or others might come to lie in their place.
            self._digests[id(rows)] = rows, None if found is None else found["digest"]
        return self._digests[id(rows)][1]

    def model(self, model: ModelOf, seed: int, role: str) -> Found:
        """Return a model: made by a stage, or as it is."""
        arm = self.arms[model.arm] if model.arm is not None else None
        if arm is None:
            if model.name not in self._weights:  # large files, once for all that needs them
                self._weights[model.name] = model_fingerprint(model.name)
            return Found(self._weights[model.name], {}, lambda context: model.name)
        if arm.method is None and arm.ends is None:
            return self.model(arm.model, seed, role)
        made = self._trained(arm, seed) if arm.method is not None else self._interpolated(arm, seed)
        return Found(role, {role: made}, lambda context: str(context.folder_of(role)))

    def reward(self, terms: tuple[RewardTerm, ...], seed: int) -> Found | None:
        """Return a reward as trainers take it; None for none."""
        if not terms:
            return None
        found = [self._term(term, seed, f"reward-{place}") for place, term in enumerate(terms)]
        weights = [term.weight for term in terms]

        def at(context: StageContext) -> Any:
            parts = [one.at(context) for one in found]
            return parts[0] if weights == [1.0] else list(zip(parts, weights, strict=True))

        known = [[one.known, weight] for one, weight in zip(found, weights, strict=True)]
        return Found(known, {role: stage for one in found for role, stage in one.needs.items()}, at)

    def _term(self, term: RewardTerm, seed: int, role: str) -> Found:
        if isinstance(term.source, ModelOf):
            return self.model(term.source, seed, role)
        function = self.task.gold if term.source == "gold" else term.source
        return Found(described(function), {}, lambda context: function)

    def scorer(self, terms: tuple[RewardTerm, ...], seed: int) -> tuple[Found | None, Callable[[StageContext], Any]]:
        """Return a reward, and what makes a function of it, loaded once."""
        found = self.reward(terms, seed)

        def at(context: StageContext) -> Any:
            given = found.at(context) if found is not None else None
            return self.shop.reward(given) if isinstance(given, str) else given if given is None else load_reward(given)

        return found, at

    def rows(self, kind: str, seed: int) -> Found:
        """Return rows to train on and rows that are held out, of the task or made."""
        rows = rows_of(self.task, kind)
        if rows is not None:
            held_out = self.task.validation.get(kind)
            if kind == "labels" and held_out is None:
                held_out = self._as_labels(self.task.validation.get("preferences"))
            known = {"as": kind, "data": self.digest(rows), "held_out": self.digest(held_out)}
            return Found(known, {}, lambda context: (rows, held_out))

        def made(context: StageContext) -> Any:
            sides = read_preferences(context.folder_of("preferences"))
            return [self._as_labels(side) for side in sides] if kind == "labels" else sides

        return Found({"as": kind}, {"preferences": self._preferences(seed)}, made)

    def _as_labels(self, preferences: Any) -> Any:
        return replace(self.task, preferences=preferences).labels

    def _preferences(self, seed: int) -> Stage:
        recipe, gold = self.recipe.preferences, self.task.gold
        assert recipe is not None
        refuse_unrated(self.task.prompts, gold)
        model = self.model(ModelOf(arm=recipe.source), seed, "model")
        prompts, sampling = self.task.prompts, self.recipe.sampling
        params = Sampling(max_new_tokens=sampling.max_new_tokens).params(1.0)
        parts = parts_of(recipe, prompts, sampling.batch_size)

        def draws(folder: Path, context: StageContext, part: range) -> list[dict[str, Any]]:
            context.report(f"{recipe.samples} samples of each of {len(part)} prompts")
            draw = policy_draw(self.shop.sampler(model.at(context)), params, seed)
            return draw_part(folder, prompts, draw, recipe, part=part, batch_size=sampling.batch_size)

        def draw_only(part: range, folder: Path, context: StageContext) -> Mapping[str, Any]:
            return {"prompts": len(draws(folder, context, part))}

        def run(folder: Path, context: StageContext) -> Mapping[str, Any]:
            if len(parts) == 1:
                rows = draws(folder, context, parts[0])
            else:
                files = [context.folder_of(f"part-{number}") / SAMPLES for number in range(1, len(parts) + 1)]
                rows = [row for file in files for row in recover_records(file)]
                replace_records(folder / SAMPLES, rows)
            return make_preferences(folder, rows, recipe, gold=gold, seed=seed)

        drawn = {
            "samples": recipe.samples,
            "model": model.known,
            "max_new_tokens": sampling.max_new_tokens,
            "prompts_digest": self.digest(prompts),
            "seed": seed,
        }
        settings = {
            **drawn,
            **recipe.model_dump(exclude={"source", "parts"}),
            "rated_by": "reference" if gold is None else described(gold),
        }
        name = f"preferences/seed-{seed}"
        if len(parts) == 1:
            return self.stage(Stage(name, settings, model.needs, run, launched=True))
        needs = {}
        for number, part in enumerate(parts, start=1):
            known = {**drawn, "rows": [part.start, part.stop]}
            of_part = Stage(
                f"{name}/part-{number}", known, model.needs, partial(draw_only, part), launched=True, kind="draw"
            )
            needs[f"part-{number}"] = self.stage(of_part)
        return self.stage(Stage(name, settings, needs, run))

    def _trained(self, arm: Arm, seed: int) -> Stage:
        method, settings = arm.method, self.settings[arm.name]
        assert method is not None and arm.start is not None
        name = f"{arm.name}/seed-{seed}"
        if name in self._stages:
            return self._stages[name]
        start, rows = self.model(arm.start, seed, "start"), self.rows(method.needs[0], seed)
        reward = self.reward(arm.reward, seed)

        def run(folder: Path, context: StageContext) -> Mapping[str, Any]:
            self.shop.clear()
            config, own = settings.build(arm, str(folder), seed)
            train_rows, held_out = rows.at(context)
            return train(
                folder,
                method,
                model=start.at(context),
                config=config,
                settings=own,
                rows=train_rows,
                held_out=held_out,
                reward=None if reward is None else reward.at(context),
                peft=peft_config(arm.entry.peft, f"methods.{arm.name}"),
                report=context.report,
            )

        known = {
            **settings.known(),
            "code": method_code_digest(method),
            "start": start.known,
            "rows": rows.known,
            "reward": None if reward is None else reward.known,
            "peft": arm.entry.peft,
            "seed": seed,
        }
        needs = {**start.needs, **rows.needs, **(reward.needs if reward is not None else {})}
        return self.stage(Stage(name, known, needs, run, launched=True, kind="train"))

    def _interpolated(self, arm: Arm, seed: int) -> Stage:
        assert arm.ends is not None and arm.entry.interpolate is not None
        alpha = arm.entry.interpolate.alpha
        ends = [self.model(model, seed, role) for model, role in zip(arm.ends, ("start", "end"), strict=True)]

        def run(folder: Path, context: StageContext) -> Mapping[str, Any]:
            return interpolate(folder, ends[0].at(context), ends[1].at(context), alpha)

        settings = {"alpha": alpha, "ends": [end.known for end in ends]}
        needs = {**ends[0].needs, **ends[1].needs}
        return self.stage(Stage(f"{arm.name}/seed-{seed}", settings, needs, run, kind="interpolate"))
