"""SFT, reward model, PPO and best-of-N on one task, sampled and measured alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genrlhf.data.fingerprint import dataset_fingerprint
from genrlhf.data.log import recover_records, said_when_full
from genrlhf.errors import ConfigError
from genrlhf.metrics.estimate import mean_estimate
from genrlhf.models.fingerprint import model_fingerprint
from genrlhf.ops import best_of_n_kl
from genrlhf.rewards import load_reward
from genrlhf.studies.best_of_n import pool_curve
from genrlhf.studies.draws import best_of_n_draw, policy_draw, sampler_of, sequence_kl
from genrlhf.studies.figures import measure_method
from genrlhf.studies.judge_validation import validate_reward_model
from genrlhf.studies.outputs import Draw, draw_outputs
from genrlhf.studies.preferences import rated_preferences
from genrlhf.studies.progress import ProgressLines, Reporter
from genrlhf.studies.recipe import Recipe
from genrlhf.trainers import (
    PPOConfig,
    PPOTrainer,
    RewardModelConfig,
    RewardModelTrainer,
    SFTConfig,
    SFTTrainer,
)
from genrlhf.trainers.checkpoint import newest_complete_checkpoint
from genrlhf.trainers.run_folder import claim_folder
from genrlhf.types import Estimate

if TYPE_CHECKING:
    from datasets import Dataset

    from genrlhf.data import Task
    from genrlhf.types import DiversityMetric, Judge, RewardFunction

__all__ = ["Study"]


class Study:
    """Trains the methods of a recipe on a task and measures each on every evaluation set.

    Everything lies in `output_dir`: a folder for every trained model, `outputs/METHOD-SET.jsonl`, the samples that
    best-of-N chose from with their rewards as `outputs/best_of_n-SET-pool.jsonl`, and `figures.json`. What is there is
    not made again, so that a second start goes on where the first stopped.

    Args:
        task: the data.
        model: the base model, a name or folder.
        output_dir: where everything goes.
        recipe: how to train, sample and measure.
        judge: says which of two outputs is better, for PvR; none leaves PvR out.
        metrics: diversity metrics.
        report: prints progress.

    Raises:
        RunFolderError: where `output_dir` holds a study of another recipe, task or model.
    """

    def __init__(
        self,
        task: Task,
        model: str,
        output_dir: str | Path,
        recipe: Recipe,
        *,
        metrics: Sequence[DiversityMetric],
        judge: Judge | None = None,
        report: Reporter | None = None,
    ) -> None:
        self.task = task
        self.model = model
        self.folder = Path(output_dir)
        self.recipe = recipe
        self.judge = judge
        self.metrics = metrics
        self.report = report if report is not None else Reporter(quiet=True)
        run = {
            "study": task.name,
            "base_model": {"name": model, "digest": model_fingerprint(model)},
            "evaluation": {name: dataset_fingerprint(dataset) for name, dataset in task.evaluation.items()},
            **asdict(recipe),
        }
        claim_folder(self.folder, run, act="go on", remedy="Choose another output folder, or repeat its settings.")

    def run(self) -> dict[str, Any]:
        """Train what is not trained, draw what is not drawn, measure, and return (and write) the figures."""
        self._train_all()
        outputs = {method: self._outputs(method) for method in self.recipe.methods}
        figures = {
            "methods": {method: self._measure(method, outputs[method]) for method in self.recipe.methods},
            **self._judge_validation(outputs),
            **({"best_of_n_curve": self._curve()} if "best_of_n" in self.recipe.methods else {}),
            "stages": {name: _read(self._done(name)) for name in ("sft", "reward_model", "ppo")},
            "recipe": asdict(self.recipe),
        }
        _write(self.folder / "figures.json", figures)
        return figures

    def _train_all(self) -> None:
        self._stage("sft", self._train_sft)
        self._stage("reward_model", self._train_reward_model)
        self._stage("ppo", self._train_ppo)

    @cached_property
    def reward(self) -> RewardFunction:
        """The trained reward model."""
        return load_reward(self._path("reward_model"), batch_size=self.recipe.sampling_batch_size)

    def model_of(self, method: str) -> str:
        """Return the folder of the model that a method samples from."""
        if method == "base":
            return self.model
        return self._path("ppo" if method == "ppo" else "sft")

    def _path(self, stage: str) -> str:
        return str(self.folder / stage)

    def _done(self, stage: str) -> Path:
        return self.folder / stage / "figures.json"

    def _stage(self, name: str, train: Callable[[str, str | None], dict[str, float]]) -> None:
        if self._done(name).is_file():
            self.report(f"{name}: already there")
            return
        folder = self._path(name)
        newest = newest_complete_checkpoint(Path(folder))
        checkpoint = None if newest is None else str(newest)
        self.report(f"{name}: {'goes on from ' + Path(checkpoint).name if checkpoint else 'training'}")
        start = self.report.seconds
        figures = train(folder, checkpoint)
        _write(self._done(name), {**figures, "seconds": self.report.seconds - start})

    def _common(self, folder: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings that every stage shares, under those of the recipe."""
        return {
            "output_dir": folder,
            "seed": self.recipe.seed,
            "disable_tqdm": True,
            "report_to": "none",
            "save_total_limit": 1,
            "dataloader_pin_memory": False,
            **settings,
        }

    def _validation(self, name: str) -> Dataset:
        if name not in self.task.validation:
            raise ConfigError(
                f"The task {self.task.name!r} has no validation rows of {name}; add some to Task.validation."
            )
        return self.task.validation[name]

    def _train_sft(self, folder: str, checkpoint: str | None) -> dict[str, float]:
        trainer = SFTTrainer(
            model=self.model,
            args=SFTConfig(**self._common(folder, self.recipe.sft)),
            train_dataset=self.task.demonstrations,
            eval_dataset=self._validation("demonstrations"),
        )
        ProgressLines.attach(trainer, self.report, "sft", {"loss": "loss", "held-out loss": "eval_loss"})
        before = trainer.evaluate()
        trainer.train(resume_from_checkpoint=checkpoint)
        trainer.save_model()
        return {"held_out_loss_base": before["eval_loss"], "held_out_loss": trainer.evaluate()["eval_loss"]}

    def _train_reward_model(self, folder: str, checkpoint: str | None) -> dict[str, float]:
        if self.task.preferences is not None:
            train, held_out = self.task.preferences, self._validation("preferences")
        else:
            train, held_out = rated_preferences(
                self.folder,
                self.task.prompts,
                self._draw("sft"),
                self.recipe,
                gold=self.task.gold,
                report=self.report,
            )
        trainer = RewardModelTrainer(
            model=self._path("sft"),
            args=RewardModelConfig(**self._common(folder, self.recipe.reward_model)),
            train_dataset=train,
            eval_dataset=held_out,
        )
        ProgressLines.attach(
            trainer,
            self.report,
            "reward model",
            {"loss": "loss", "accuracy": "accuracy", "held-out accuracy": "eval_accuracy"},
        )
        trainer.train(resume_from_checkpoint=checkpoint)
        trainer.save_model()
        reward = load_reward(folder)
        chosen, rejected = (reward(held_out["prompt"], held_out[side]) for side in ("chosen", "rejected"))
        right = [float(a > b) for a, b in zip(chosen, rejected, strict=True)]
        accuracy = sum(right) / len(right)
        self.report(f"reward model: accuracy on {len(right)} held-out pairs {accuracy:.3f}")
        return {"held_out_accuracy": accuracy, "held_out_pairs": len(right)}

    def _train_ppo(self, folder: str, checkpoint: str | None) -> dict[str, float]:
        settings = {
            "max_new_tokens": self.recipe.max_new_tokens,
            "temperature": self.recipe.temperature,
            "sampling_batch_size": self.recipe.sampling_batch_size,
            **self.recipe.ppo,
        }
        trainer = PPOTrainer(
            model=self._path("sft"),
            reward=self._path("reward_model"),
            args=PPOConfig(**self._common(folder, settings)),
            train_dataset=self.task.prompts,
        )
        shown = {"reward": "objective/scores", "KL": "objective/kl", "length": "objective/completion_length"}
        ProgressLines.attach(trainer, self.report, "ppo", shown)
        trainer.train(resume_from_checkpoint=checkpoint)
        trainer.save_model()
        return {}

    def _draw(self, method: str) -> Draw:
        sampler = sampler_of(self.model_of(method), batch_size=self.recipe.sampling_batch_size)
        return policy_draw(sampler, self.recipe.sampling_params, self.recipe.seed)

    def _outputs(self, method: str) -> dict[str, list[dict[str, Any]]]:
        self.report(f"{method}: sampling")
        sampled, outputs = self._draw(method), {}
        for name, dataset in self.task.evaluation.items():
            file = self.folder / "outputs" / f"{method}-{name}.jsonl"
            draw = sampled
            if method == "best_of_n":
                draw = best_of_n_draw(self._pool(name, sampled), self.recipe.n)
            outputs[name] = draw_outputs(file, dataset, name, self._recipe_of(name), draw)
        return outputs

    def _measure(self, method: str, outputs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
        self.report(f"{method}: measuring")
        figures = measure_method(
            outputs, reward=self.reward, metrics=self.metrics, judge=self.judge, gold=self.task.gold
        )
        return {**figures, "kl": self._kl(method)}

    def _judge_validation(self, outputs: dict[str, dict[str, list[dict[str, Any]]]]) -> dict[str, Any]:
        if self.task.gold is None:
            return {}
        found = validate_reward_model(outputs, reward=self.reward, gold=self.task.gold)
        return {"judge_validation": found} if found else {}

    def _recipe_of(self, name: str) -> Recipe:
        """Diversity is measured in distribution; elsewhere one output of every input is all that is looked at."""
        return self.recipe if name == "id" else replace(self.recipe, diversity_inputs=0)

    def _pool(self, name: str, draw: Draw) -> list[dict[str, Any]]:
        """Return the samples that best-of-N chooses from, N an output, with their rewards; what is on disk stays."""
        return draw_outputs(
            self.folder / "outputs" / f"best_of_n-{name}-pool.jsonl",
            self.task.evaluation[name],
            name,
            self._recipe_of(name),
            draw,
            times=self.recipe.n,
            reward=self.reward,
        )

    def _curve(self) -> list[dict[str, Any]]:
        """Return best-of-n in distribution for n up to N, from the N samples that each first output was chosen from."""
        points = pool_curve(
            recover_records(self.folder / "outputs" / "best_of_n-id-pool.jsonl"), self.recipe.n, self.judge
        )
        return [{name: value for name, value in vars(point).items() if value is not None} for point in points]

    def _kl(self, method: str) -> Estimate:
        """Return the KL from the SFT model in nats an output; of best-of-N the upper bound log n − (n − 1)/n."""
        prompts = self.task.evaluation["id"]["prompt"]
        if method == "sft":
            return _known(0.0, len(prompts))
        if method == "best_of_n":
            return _known(best_of_n_kl(self.recipe.n), len(prompts))
        sampler = sampler_of(self.model_of(method))
        reference = sampler_of(self._path("sft")).model
        seed = self.recipe.seed + 1
        return mean_estimate(sequence_kl(sampler, reference, prompts, self.recipe.sampling_params, seed=seed))


def _known(value: float, n: int) -> Estimate:
    """Return a figure that is known and not measured, of n inputs."""
    return Estimate(value, 0.0, (value, value), n, np.full(n, value))


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _write(file: Path, figures: dict[str, Any]) -> None:
    temporary = file.with_suffix(".tmp")
    with said_when_full(file):
        temporary.write_text(json.dumps(figures, indent=2, default=_as_json) + "\n", encoding="utf-8")
        temporary.replace(file)


def _as_json(value: Any) -> Any:
    return value.to_dict()
