"""The paper's pipeline on the embedded task, in minutes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from genrlhf.data import load_task
from genrlhf.data.embedded.task import PREFERENCE_TEMPERATURE
from genrlhf.metrics import EAD, DistinctN
from genrlhf.metrics.preference import ScoreJudge
from genrlhf.studies.best_of_n import BestOfNPoint
from genrlhf.studies.progress import Reporter, quiet_libraries
from genrlhf.studies.recipe import Recipe
from genrlhf.studies.report import judge_table, markdown_table, plot, plot_reward_kl, text_table
from genrlhf.studies.study import Study

__all__ = ["DEMO_DATA", "demo_recipe", "run_demo"]

DEMO_DATA = {
    "n_demonstrations": 3000,
    "n_preferences": 0,
    "n_prompts": 8192,
    "n_validation": 500,
    "n_evaluation": 200,
}
"""Sizes of the embedded task's datasets in the demo; its preferences are between samples of its own SFT model."""


def demo_recipe(seed: int) -> Recipe:
    """Return how the demo trains and samples, at sizes that two cores finish in three minutes."""
    supervised = {
        "per_device_train_batch_size": 32,
        "per_device_eval_batch_size": 64,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 10,
        "logging_steps": 25,
        "save_strategy": "no",
    }
    return Recipe(
        sft=supervised,
        reward_model=supervised,
        ppo={
            "num_rollouts": 36,
            "num_ppo_epochs": 2,
            "per_device_train_batch_size": 128,
            "learning_rate": 5e-4,
            "lr_scheduler_type": "linear",
            "kl_coef": 0.2,
            "logging_steps": 20,
            "save_steps": 40,
        },
        n=16,
        outputs_per_input=8,
        diversity_inputs=40,
        max_new_tokens=40,
        preference_prompts=3500,
        preference_samples=2,
        preference_pairs=1,
        preference_temperature=PREFERENCE_TEMPERATURE,
        sampling_batch_size=512,
        seed=seed,
    )


def run_demo(output_dir: str | Path = "demo", *, seed: int = 0, quiet: bool = False) -> dict[str, Any]:
    """Train SFT, reward model and PPO on the embedded task, sample best-of-16, and compare what came out.

    Writes `outputs/METHOD-SET.jsonl`, `figures.json`, `table.md`, `generalisation_diversity.png` and `reward_kl.png` to
    `output_dir`, and the trained models beside them. A second call goes on where the first stopped.

    Args:
        output_dir: where everything goes.
        seed: of task, training and sampling.
        quiet: report no progress on stderr.

    Returns:
        `{"methods": {METHOD: {"pvr", "gap", "gaps", "reward", "gold", "diversity", "kl"}}, "judge_validation": {SET:
        JudgeValidation}, "best_of_n_curve": [{"n", "kl", "reward", "preference"}], "stages", "recipe", "seconds"}`,
        with an `Estimate` for every measured figure.

    Raises:
        RunFolderError: where `output_dir` holds another run.
    """
    quiet_libraries()
    report = Reporter(quiet=quiet)
    task = replace(load_task("embedded", seed=seed, **DEMO_DATA), preferences=None)
    assert task.gold is not None and task.model is not None
    study = Study(
        task,
        task.model,
        output_dir,
        demo_recipe(seed),
        metrics=[EAD(), DistinctN()],
        judge=ScoreJudge(task.gold),
        report=report,
    )
    figures = study.run()
    folder = Path(output_dir)
    (folder / "table.md").write_text(markdown_table(figures["methods"]), encoding="utf-8")
    plot(figures["methods"], folder / "generalisation_diversity.png")
    curve = [BestOfNPoint(**point) for point in figures["best_of_n_curve"]]
    plot_reward_kl(curve, figures["methods"], folder / "reward_kl.png")
    report(f"done; everything lies in {folder}")
    return {**figures, "seconds": round(report.seconds, 1)}


def demo_summary(figures: dict[str, Any]) -> str:
    """Return what the demo prints at its end."""
    accuracy = figures["stages"]["reward_model"]["held_out_accuracy"]
    curve = ", ".join(
        f"{point['reward'].value:.2f} at n = {point['n']}"
        for point in figures["best_of_n_curve"]
        if point["n"] in (1, 4, 16)
    )
    return (
        f"{text_table(figures['methods'])}\n\n"
        "PvR: % of inputs on which the gold score prefers the output to the reference; ID in, OOD out of\n"
        "distribution. gap: PvR ID less PvR of that set. EAD: diversity of 8 outputs of an input, or of one\n"
        "output of every input. KL in nats an output, of best-of-N an upper bound. Brackets: 95 % intervals.\n"
        "All outputs are drawn at temperature 1.\n"
        f"Reward ID of the best of n SFT samples: {curve}.\n"
        f"Reward model: {100 * accuracy:.1f} % of held-out pairs right. As a judge of every two methods' outputs,\n"
        "beside the gold score in place of humans (%):\n\n"
        f"{judge_table(figures['judge_validation'])}"
    )
