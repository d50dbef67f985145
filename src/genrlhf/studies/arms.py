"""What a study compares: every entry of `methods` resolved to what it is, and what it needs of the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from genrlhf.errors import ConfigError, DataError, excerpt
from genrlhf.methods import DiverseBestOfN, Method, get_method, method_names
from genrlhf.studies.graph import in_order
from genrlhf.studies.recipe import Entry, Interpolation, Recipe, Sampling, near_miss

if TYPE_CHECKING:
    from genrlhf.data import Task

__all__ = ["Arm", "ModelOf", "RewardTerm", "model_of", "resolve_arms", "reward_terms", "rows_of"]


@dataclass(frozen=True)
class ModelOf:
    """A model: that of another arm, or by its name or folder.

    Attributes:
        arm: the other arm; None for a model by name.
        name: of the model; "" for an arm's.
    """

    arm: str | None = None
    name: str = ""


@dataclass(frozen=True)
class RewardTerm:
    """A part of a reward.

    Attributes:
        source: a function, "gold", or a model.
        weight: what it is multiplied by.
    """

    source: ModelOf | Callable[..., Any] | Literal["gold"]
    weight: float = 1.0


@dataclass(frozen=True)
class Arm:
    """One of the methods of a study.

    Attributes:
        name: in the recipe.
        label: in tables.
        paper: where it comes from.
        loop: that trains it; "" where nothing does.
        compare: sample and measure it.
        free: a control that costs no training.
        sampling: how it is drawn.
        model: what is sampled; its own, where it is trained or interpolated.
        method: what trains it.
        start: what training starts from.
        reward: what it is trained for.
        choice: what best-of-N chooses by.
        ends: start and end of an interpolation.
        entry: as the recipe has it.
    """

    name: str
    label: str
    paper: str
    loop: str
    compare: bool
    free: bool
    sampling: Sampling
    model: ModelOf
    entry: Entry
    method: Method | None = None
    start: ModelOf | None = None
    reward: tuple[RewardTerm, ...] = ()
    choice: tuple[RewardTerm, ...] = ()
    ends: tuple[ModelOf, ModelOf] | None = None

    @property
    def makes_reward(self) -> bool:
        """Whether it is a reward model, which cannot be sampled."""
        return self.method is not None and self.method.makes == "reward"

    def needed(self) -> dict[str, str]:
        """Return the arms that it needs, by role."""
        roles = {"start": self.start, "model": self.model}
        roles |= {f"reward {i}": term.source for i, term in enumerate((*self.reward, *self.choice))}  # type: ignore[misc]
        roles |= dict(zip(("end of alpha 0", "end of alpha 1"), self.ends, strict=True)) if self.ends else {}
        found = {role: one.arm for role, one in roles.items() if isinstance(one, ModelOf) and one.arm}
        return {role: name for role, name in found.items() if name != self.name}


def resolve_arms(recipe: Recipe, task: Task, base: str | None) -> dict[str, Arm]:
    """Return the arms that are compared and those that they need, by name, each behind what it needs.

    Args:
        recipe: of the study.
        task: the data that there are.
        base: the base model.

    Raises:
        ConfigError: naming the entry and the field that cannot be.
        DataError: a method needs what the task has not.
    """
    arms = {name: _arm(name, recipe, base) for name in recipe.methods}
    needs = {name: [*arm.needed().values(), *_makes_preferences(arm, recipe, task)] for name, arm in arms.items()}
    order = in_order(needs, "Method")
    for arm in arms.values():
        _refuse_rewards_as_models(arm, arms)
        if arm.compare and arm.makes_reward:
            raise ConfigError(
                f"methods.{arm.name}.compare is true, and a reward model writes nothing that could be compared; leave "
                "it out."
            )
        if arm.method is not None:
            _check_needs(arm, recipe, task)
    forgetting = recipe.forgetting.base if recipe.forgetting is not None and recipe.forgetting.base in arms else None
    roles = ("reference", recipe.reference), ("preferences.from", _source(recipe)), ("forgetting.base", forgetting)
    for role, name in roles:
        if name is not None and (name not in arms or arms[name].makes_reward):
            raise ConfigError(f"{role} is {name!r}, which is no method that writes anything{near_miss(name, [*arms])}.")
    wanted = [name for name, arm in arms.items() if arm.compare]
    wanted += [_arm_named(recipe.reward, arms, "reward"), _arm_named(_judging(recipe), arms, "judge")]  # type: ignore[list-item]
    wanted += [] if forgetting is None else [forgetting]
    pending, used = [name for name in wanted if name], set()
    while pending:
        name = pending.pop()
        if name not in used:
            used.add(name)
            pending += needs[name]
    if not any(arm.compare for arm in arms.values()):
        raise ConfigError("methods has nothing that is compared; add a method, or take `compare: false` away.")
    return {name: arms[name] for name in order if name in used}


def rows_of(task: Task, kind: str) -> Any:
    """Return the rows of a kind that a task has, None for none."""
    found = getattr(task, kind, None)
    return found if found is not None and len(found) else None


def reward_terms(given: Any, names: Mapping[str, Any], where: str) -> tuple[RewardTerm, ...]:
    """Return the terms of a reward as a recipe has it.

    Args:
        given: a name, a function, or a mapping of names to weights.
        names: of the arms.
        where: for messages.
    """
    if given is None:
        return ()
    if isinstance(given, Mapping):
        for name, weight in given.items():
            if isinstance(weight, bool) or not isinstance(weight, (int, float)):
                raise ConfigError(f"{where}.{name} is {excerpt(weight)}; it must be the weight of that reward.")
        return tuple(RewardTerm(_reward(name, names, where), float(weight)) for name, weight in given.items())
    return (RewardTerm(_reward(given, names, where)),)


def _reward(given: Any, names: Mapping[str, Any], where: str) -> Any:
    from genrlhf.places import load_place

    if callable(given):
        return given
    if not isinstance(given, str):
        raise ConfigError(
            f"{where} is {excerpt(given)}; give a reward model, gold, package.module:function, or weights."
        )
    if given == "gold":
        return "gold"
    if given not in names and ":" in given and not Path(given).exists():
        return load_place(given, f"{where}, {given!r},")
    return model_of(given, names, where, kind="reward model")


def model_of(given: str, names: Mapping[str, Any], where: str, base: str | None = None, kind: str = "model") -> ModelOf:
    """Return the model that a name in a recipe means: of an arm, the base, a folder or on the hub.

    Args:
        given: the name.
        names: of the arms.
        where: the name stands, for messages.
        base: the base model, where it may be meant.
        kind: of the model, for messages.
    """
    if given in names:
        return ModelOf(arm=given)
    if given == "base" and base is not None:
        return ModelOf(name=base)
    if Path(given).is_dir() or ("/" in given and near_miss(given, list(names)) == ""):
        return ModelOf(name=given)
    hint = near_miss(given, list(names)) or f"; there are {', '.join(names)}"
    raise ConfigError(f"{where} is {given!r}, which is no method of this study and no {kind}'s folder or name{hint}.")


_OF_TRAINING = ("method", "start", "reward", "peft")


def _arm(name: str, recipe: Recipe, base: str | None) -> Arm:
    entry, where, names = recipe.methods[name], f"methods.{name}", recipe.methods
    sampling = recipe.sampling_of(name)
    choice = _choice(sampling, recipe, where)
    others = {"model": entry.model, "from": entry.source, "interpolate": entry.interpolate}
    given = [field for field, value in others.items() if value is not None]
    common: dict[str, Any] = {"name": name, "entry": entry, "sampling": sampling, "choice": choice}
    if len(given) > 1:
        raise ConfigError(f"{where} has {given[0]} and {given[1]}; it is one or the other.")
    if given or (name == "base" and entry.method is None):
        extra = [*entry.settings, *(field for field in _OF_TRAINING if getattr(entry, field) is not None)]
        if extra:
            what = given[0] if given else "the base model"
            raise ConfigError(f"{where} has {extra[0]}, and with {what} nothing is trained; take one of them away.")
        return _untrained(entry, where, names, base, common)
    return _trained(entry, where, names, base, common)


def _untrained(entry: Entry, where: str, names: Mapping[str, Entry], base: str | None, common: dict[str, Any]) -> Arm:
    common = {**common, "compare": entry.compare is not False, "loop": "", "free": True, "paper": ""}
    common["label"] = entry.label or common["name"]
    if entry.source is not None:
        return Arm(model=model_of(entry.source, names, f"{where}.from", base), **common)
    if entry.interpolate is not None:
        ends = _ends(entry.interpolate, where, names, base)
        common["paper"] = "Wortsman et al. 2022, arXiv 2109.01903"
        return Arm(model=ModelOf(arm=common["name"]), ends=ends, **common)
    model = entry.model or base
    if model is None:
        raise ConfigError(f"{where} is the base model, and there is none; give `model:` a name or folder.")
    # Somebody trained it, unless it is what the others start from.
    return Arm(model=ModelOf(name=model), **{**common, "free": model == base})


def _ends(between: Interpolation, where: str, names: Mapping[str, Entry], base: str | None) -> tuple[ModelOf, ModelOf]:
    where = f"{where}.interpolate"
    return model_of(between.start, names, f"{where}.start", base), model_of(between.end, names, f"{where}.end", base)


def _trained(entry: Entry, where: str, names: Mapping[str, Entry], base: str | None, common: dict[str, Any]) -> Arm:
    name = common["name"]
    if isinstance(entry.method, Method):
        method = entry.method
    elif entry.method is not None or name in method_names():
        try:
            method = get_method(entry.method or name)
        except ConfigError as error:
            raise ConfigError(f"{where}.method: {error}") from error
    else:
        raise ConfigError(
            f"{where} is no method of the registry{near_miss(name, ['base', *method_names()])}. Say what it is by "
            "`method:`, `from:`, `model:` or `interpolate:`."
        )
    if entry.start is None and base is None:
        raise ConfigError(f"{where} starts from the base model, and there is none; give `model:` a name or folder.")
    start = ModelOf(name=base or "") if entry.start is None else model_of(entry.start, names, f"{where}.start", base)
    return Arm(
        label=entry.label or (method.label if name == method.name else name),
        paper=method.paper,
        loop=method.loop,
        compare=method.makes != "reward" if entry.compare is None else entry.compare,
        free=False,
        model=ModelOf(arm=name),
        method=method,
        start=start,
        reward=reward_terms(entry.reward, names, f"{where}.reward"),
        **common,
    )


def _choice(sampling: Sampling, recipe: Recipe, where: str) -> tuple[RewardTerm, ...]:
    if (sampling.best_of_n is None) != (sampling.reward is None):
        missing = "reward, which chooses" if sampling.reward is None else "best_of_n, of how many it chooses"
        raise ConfigError(f"{where}.sampling has no {missing}; add it.")
    if sampling.group_reward is not None:
        if (sampling.best_of_n or 0) < 2:
            raise ConfigError(
                f"{where}.sampling.group_reward compares samples; set best_of_n to 2 or more, such as 16."
            )
        try:
            DiverseBestOfN(sampling.group_reward)
        except ConfigError as error:
            raise ConfigError(f"{where}.sampling.group_reward: {error}") from error
    return reward_terms(sampling.reward, recipe.methods, f"{where}.sampling.reward")


def _refuse_rewards_as_models(arm: Arm, arms: Mapping[str, Arm]) -> None:
    ends = dict(zip(("interpolate.start", "interpolate.end"), arm.ends or (), strict=False))
    starts = {} if arm.makes_reward else {"start": arm.start}
    for field, model in {"from": arm.model, **starts, **ends}.items():
        name = model.arm if model is not None else None
        if name is not None and name != arm.name and arms[name].makes_reward:
            raise ConfigError(f"methods.{arm.name}.{field} is {name!r}, a reward model, which writes no text.")
    for term in (*arm.reward, *arm.choice):
        name = term.source.arm if isinstance(term.source, ModelOf) else None
        if name is not None and not arms[name].makes_reward:
            raise ConfigError(f"methods.{arm.name}: the reward {name!r} is a model that writes, not a reward model.")


def _makes_preferences(arm: Arm, recipe: Recipe, task: Task) -> list[str]:
    """Return the arm whose samples are compared for this one, where that is so."""
    kinds = set(arm.method.needs) & {"preferences", "labels"} if arm.method is not None else set()
    made = any(rows_of(task, kind) is None for kind in kinds)
    source = _source(recipe)
    return [source] if made and source is not None and source in recipe.methods else []


def _source(recipe: Recipe) -> str | None:
    return recipe.preferences.source if recipe.preferences is not None else None


def _check_needs(arm: Arm, recipe: Recipe, task: Task) -> None:
    """Raise where a method needs what there is not."""
    assert arm.method is not None
    wants = "reward" in arm.method.needs
    if wants and not arm.reward:
        raise ConfigError(
            f"methods.{arm.name} needs a reward; give `reward:` a reward model among the methods, a model, gold, or "
            "package.module:function."
        )
    if arm.reward and not wants:
        raise ConfigError(f"methods.{arm.name}.reward is given, and {arm.method.name} takes none; leave it out.")
    for term in (*arm.reward, *arm.choice):
        if term.source == "gold" and task.gold is None:
            raise DataError(f"methods.{arm.name} is for the gold score, and the task {task.name!r} has none.")
    if "feedback" in arm.method.needs and not _has_feedback(arm, task):
        raise DataError(
            f"methods.{arm.name} learns from feedback on completions, and the task {task.name!r} has none; give "
            f"`feedback:` what gives it (genrlhf train {arm.method.name} --help says what that may be)."
        )
    for kind in (kind for kind in arm.method.needs if kind not in ("reward", "feedback")):
        made = kind in ("preferences", "labels") and recipe.preferences is not None
        if rows_of(task, kind) is None and not made:
            remedy = "; or say under `preferences:` how some are made" if kind in ("preferences", "labels") else ""
            raise DataError(
                f"methods.{arm.name} needs {kind}, and the task {task.name!r} has none; take another task{remedy}."
            )


def _has_feedback(arm: Arm, task: Task) -> bool:
    """Whether a setting of the entry says what gives feedback, or the rows have it."""
    assert arm.method is not None
    rows = rows_of(task, arm.method.needs[0])
    given = arm.entry.settings.get("feedback") or arm.entry.settings.get("goal_reward")
    return given is not None or (rows is not None and "feedback" in rows.column_names)


def _judging(recipe: Recipe) -> str | None:
    judge = recipe.judge
    return judge.removeprefix("reward:") if isinstance(judge, str) and judge.startswith("reward:") else None


def _arm_named(name: str | None, arms: Mapping[str, Arm], field: str) -> str | None:
    """Return the reward arm that a field of the study names, None for another reward."""
    if name is None or name == "auto":
        return None
    if name in arms and not arms[name].makes_reward:
        raise ConfigError(f"{field} is {name!r}, a model that writes; it must be a reward model.")
    if name not in arms:
        model_of(name, arms, field, kind="reward model")
    return name if name in arms else None
