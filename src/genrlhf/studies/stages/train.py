"""Stages that train: any method of the registry, or of elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from genrlhf.errors import ConfigError
from genrlhf.methods import Method
from genrlhf.studies.progress import ProgressLines
from genrlhf.studies.training_log import TrainingLog
from genrlhf.trainers.checkpoint import newest_complete_checkpoint
from genrlhf.trainers.shared import decided_by_main

__all__ = ["peft_config", "train"]

_SHOWN = {
    "loss": "loss",
    "held-out loss": "eval_loss",
    "accuracy": "accuracy",
    "held-out accuracy": "eval_accuracy",
    "reward": "objective/scores",
    "KL": "objective/kl",
    "length": "objective/completion_length",
}


def train(
    folder: Path,
    method: Method,
    *,
    model: str,
    config: Any,
    settings: Any,
    rows: Any,
    held_out: Any = None,
    reward: Any = None,
    peft: Any = None,
    report: Callable[[str], None],
) -> dict[str, Any]:
    """Train a model by a method, or go on where that was stopped, and save it in `folder`.

    Args:
        folder: the output folder.
        method: what trains it.
        model: to start from, a name or folder.
        config: the trainer's settings.
        settings: the method's, None for none.
        rows: to train on.
        held_out: rows to evaluate on, None for none.
        reward: as trainers take it, None for none.
        peft: an adapter's settings, None for none.
        report: prints progress.

    Returns:
        `steps`, the number of `held_out` rows, and what was measured on them, before (where the loop is supervised) and
        after.
    """
    evaluated = held_out is not None and method.loop in ("supervised", "pairs")
    figures: dict[str, Any] = {}
    # Trainers print their figures, and models whatever they like; standard output belongs to whoever asked.
    with contextlib.redirect_stdout(sys.stderr):
        trainer = method.build(
            model,
            config,
            rows,
            eval_dataset=held_out if evaluated else None,
            reward=reward,
            settings=settings,
            **({"peft_config": peft} if peft is not None else {}),
        )
        if hasattr(trainer, "add_callback"):
            ProgressLines.attach(trainer, report, "training", _SHOWN)
        TrainingLog.attach(trainer, folder)
        if evaluated and method.loop == "supervised":
            figures["held_out_before"] = _numbers(trainer.evaluate())
        output = trainer.train(resume_from_checkpoint=decided_by_main(lambda: _resumed(folder, method)))
        trainer.save_model()
        if evaluated:
            figures["held_out"] = _numbers(trainer.evaluate())
            figures["held_out_rows"] = len(held_out)
    return {"steps": int(output.global_step), **figures}


def _numbers(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return what was measured, without how long it took and how far training was."""
    timed = ("_runtime", "_per_second", "_time", "epoch", "num_tokens")
    return {
        name.removeprefix("eval_"): float(value)
        for name, value in figures.items()
        if isinstance(value, (int, float)) and not name.endswith(timed)
    }


def _resumed(folder: Path, method: Method) -> str | bool | None:
    """Return what to go on from: a checkpoint, True for rounds of sampling that had begun, or None."""
    if method.loop == "sample_and_tune":
        begun = any(folder.rglob("*.jsonl")) or any(newest_complete_checkpoint(at) for at in _places(folder))
        return True if begun else None
    newest = newest_complete_checkpoint(folder)
    return None if newest is None else str(newest)


def _places(folder: Path) -> list[Path]:
    return [folder, *(each for each in folder.glob("iteration-*") if each.is_dir())]


def peft_config(fields: Mapping[str, Any] | None, where: str) -> Any:
    """Return an adapter's settings as PEFT has them: LoRA's, unless `peft_type` says another.

    Raises:
        ConfigError: for a field that PEFT does not have.
    """
    if fields is None:
        return None
    from peft import get_peft_config

    try:
        return get_peft_config({"peft_type": "LORA", **fields})
    except (TypeError, ValueError, KeyError) as error:
        raise ConfigError(f"{where}.peft cannot be read by PEFT: {error}.") from error
