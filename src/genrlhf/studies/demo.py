"""The paper's pipeline on the embedded task, in minutes: the study of `demo.yaml`."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genrlhf.data.log import recover_records
from genrlhf.models.processes import has_accelerator
from genrlhf.studies.best_of_n import BestOfNPoint
from genrlhf.studies.judge_validation import validate_reward_model
from genrlhf.studies.plan import Drawn
from genrlhf.studies.progress import Reporter, quiet_libraries
from genrlhf.studies.recipe import read_recipe
from genrlhf.studies.report import judge_table, markdown_table, plot, plot_reward_kl, text_table
from genrlhf.studies.results import from_json
from genrlhf.studies.stages.sample import OUTPUTS, POOL
from genrlhf.studies.study import Study

__all__ = ["DEMO", "demo_study", "run_demo", "usual_jobs"]

DEMO = Path(__file__).with_name("demo.yaml")
"""The recipe of the demo."""


def demo_study(output_dir: str | Path = "demo", *, seed: int = 0) -> Study:
    """Return the study that the demo runs, at sizes that two cores finish in minutes."""
    recipe = read_recipe(DEMO)
    changes = {"task": {**recipe.task, "seed": seed}, "seeds": [seed], "output_dir": str(output_dir)}
    return Study.of(recipe.model_copy(update=changes))


def usual_jobs() -> int:
    """Return how many stages of the demo are made at a time: two, but one on one processor or with an accelerator."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 1 if has_accelerator() else min(2, processors)


def run_demo(
    output_dir: str | Path = "demo", *, seed: int = 0, quiet: bool = False, jobs: int | None = None
) -> dict[str, Any]:
    """Train SFT, reward model and PPO on the embedded task, sample best-of-16, and compare what came out.

    Writes `outputs/METHOD-SET.jsonl`, `results.json`, `figures.json`, `table.md`, `generalisation_diversity.png` and
    `reward_kl.png` to `output_dir`, and the trained models below `stages`. A second call goes on where the first
    stopped.

    Args:
        output_dir: where everything goes.
        seed: of task, training and sampling.
        quiet: report no progress on stderr.
        jobs: stages that are made at a time, each in a process of its own; `usual_jobs()` by default. Without an
            accelerator each computes with one thread, so that the figures do not depend on it.

    Returns:
        `{"methods": {METHOD: {"pvr", "gap", "gaps", "reward", "gold", "diversity", "kl"}}, "judge_validation": {SET:
        JudgeValidation}, "best_of_n_curve": [{"n", "kl", "reward", "preference"}], "stages", "recipe", "seconds"}`,
        with an `Estimate` for every measured figure.
    """
    quiet_libraries()
    report = Reporter(quiet=quiet)
    study = demo_study(output_dir, seed=seed)
    results = study.run(report, jobs=jobs or usual_jobs(), threads=None if has_accelerator() else 1)
    figures = {**_figures(study), "recipe": results["settings"]}
    folder = study.folder
    text = json.dumps(figures, indent=2, default=lambda value: value.to_dict())
    (folder / "figures.json").write_text(text + "\n", encoding="utf-8")
    (folder / "table.md").write_text(markdown_table(figures["methods"]), encoding="utf-8")
    plot(figures["methods"], folder / "generalisation_diversity.png")
    curve = [BestOfNPoint(**point) for point in figures["best_of_n_curve"]]
    plot_reward_kl(curve, figures["methods"], folder / "reward_kl.png")
    report(f"done; everything lies in {folder}")
    return {**figures, "seconds": round(report.seconds, 1)}


def _figures(study: Study) -> dict[str, Any]:
    """Return what a study of one seed and one temperature has measured, and copy its outputs to one folder."""
    records = study.records()
    methods: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    curve: list[dict[str, Any]] = []
    for drawn in study.plan.drawn:
        name = drawn.arm.name
        found: dict[str, Any] = {}
        for stage in drawn.measured.values():
            found |= from_json(dict(records[stage.name].figures))
        curve = found.pop("best_of_n_curve", curve)
        methods[name], outputs[name] = found, _copied(study, drawn)
    trained = {stage.name.split("/")[0]: records[stage.name] for stage in study.graph() if stage.kind == "train"}
    stages = {name: {**_told(record.figures), "seconds": record.seconds} for name, record in trained.items()}
    validation = _validation(outputs, methods)
    return {
        "methods": methods,
        **({"judge_validation": validation} if validation else {}),
        "best_of_n_curve": curve,
        "stages": stages,
    }


def _told(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return what was measured of a model on held-out rows."""
    before, after = figures.get("held_out_before", {}), figures.get("held_out", {})
    found = {"held_out_loss_base": before.get("loss"), "held_out_loss": after.get("loss")}
    if "accuracy" in after:
        found |= {"held_out_accuracy": after["accuracy"], "held_out_pairs": figures["held_out_rows"]}
    return {name: value for name, value in found.items() if value is not None}


def _copied(study: Study, drawn: Drawn) -> dict[str, list[dict[str, Any]]]:
    """Copy the outputs of a method to `outputs/METHOD-SET.jsonl`, and return them by evaluation set."""
    place = study.folder / "outputs"
    place.mkdir(exist_ok=True)
    for name, stage in drawn.samples.items():
        for file, suffix in ((OUTPUTS, ""), (POOL, "-pool")):
            made = study.folder_of(stage.name) / file
            if made.is_file():
                shutil.copyfile(made, place / f"{drawn.arm.name}-{name}{suffix}.jsonl")
    return {name: recover_records(study.folder_of(stage.name) / OUTPUTS) for name, stage in drawn.samples.items()}


def _validation(outputs: Mapping[str, Any], methods: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the reward model, as a judge of every two methods, agrees with the gold score."""
    scores: dict[str, dict[tuple[str, str], float]] = {"reward": {}, "gold": {}}
    for method, sets in outputs.items():
        for name, rows in sets.items():
            texts = [(row["prompt"], row["outputs"][0]) for row in rows]
            for kind, known in scores.items():
                known.update(zip(texts, methods[method][kind][name].values.tolist(), strict=True))

    def look_up(kind: str) -> Any:
        return lambda prompts, texts, **_: [scores[kind][pair] for pair in zip(prompts, texts, strict=True)]

    return validate_reward_model(outputs, reward=look_up("reward"), gold=look_up("gold"))


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
