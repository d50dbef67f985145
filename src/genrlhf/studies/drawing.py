"""The stages that draw the outputs of an arm on an evaluation set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.methods import DiverseBestOfN
from genrlhf.studies.given import described
from genrlhf.studies.graph import Stage, StageContext
from genrlhf.studies.recipe import Sampling
from genrlhf.studies.results import temperature_key
from genrlhf.studies.stages.sample import POOL, choose, sample

if TYPE_CHECKING:
    from datasets import Dataset

    from genrlhf.studies.arms import Arm
    from genrlhf.studies.ingredients import Ingredients
    from genrlhf.studies.workshop import Workshop

__all__ = ["drawing_stage"]

_SEVERAL = ("outputs_per_input", "diversity_inputs")
_OTHERWISE = ("temperatures", "batch_size", "reward", *_SEVERAL)
"""Fields that do not say how samples are drawn, or not on all sets."""


def drawing_stage(
    made: Ingredients, shop: Workshop, arm: Arm, name: str, dataset: Dataset, *, temperature: float, seed: int
) -> Stage:
    """Return the stage that has the outputs of an arm; best-of-n chooses from samples that another stage draws.

    What is chosen from does not wait for the reward model, and is drawn once for all arms that choose from it.

    Args:
        made: what it needs.
        shop: loads models.
        arm: the arm.
        name: of the evaluation set.
        dataset: its rows.
        temperature: of the samples.
        seed: of training and sampling.
    """
    model, sampling = made.model(arm.model, seed, "model"), arm.sampling
    at = f"{arm.name}@{temperature_key(temperature)}/{name}/seed-{seed}"
    # Elsewhere one output of every input is drawn.
    several = {each: getattr(sampling, each) for each in _SEVERAL} if name == "id" else {}
    of_set = {"set": name, "data": made.digest(dataset)}

    def draw(folder: Path, context: StageContext) -> Mapping[str, Any]:
        sampler = shop.sampler(model.at(context))
        return sample(folder, dataset, name, sampler, sampling, temperature=temperature, seed=seed)

    settings = {
        **_how(sampling),
        **several,
        "model": model.known,
        "reward": None,
        "temperature": temperature,
        "seed": seed,
        **of_set,
    }
    n = sampling.best_of_n
    drawn = Stage(f"{'sample' if n is None else 'pool'}/{at}", settings, model.needs, draw, launched=True)
    if n is None:
        return made.stage(drawn)
    pool = made.stage(drawn)
    reward, scorer = made.scorer(arm.choice, seed)
    assert reward is not None

    def best(folder: Path, context: StageContext) -> Mapping[str, Any]:
        return choose(folder, context.folder_of("pool") / POOL, dataset, name, sampling, scorer(context))

    settings = {"best_of_n": n, **several, "reward": reward.known, **of_set}
    if sampling.group_reward is not None:
        settings["group_reward"] = described(DiverseBestOfN(sampling.group_reward))
    return made.stage(Stage(f"sample/{at}", settings, {"pool": pool, **reward.needs}, best, launched=True))


def _how(sampling: Sampling) -> dict[str, Any]:
    """Return how a sample is drawn, as settings of a stage."""
    fields = [each for each in Sampling.model_fields if each not in _OTHERWISE]
    if sampling.verbalized is None:
        # As it was before there was any, so that what is there is not drawn again.
        fields = [each for each in fields if not each.startswith("verbalized")]
    # Nor does it depend on what is chosen by.
    return {each: getattr(sampling, each) for each in fields} | {"group_reward": None}
