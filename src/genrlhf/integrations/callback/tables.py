"""Completions as tables in the loggers that a Trainer reports to."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from genrlhf.markdown import table

if TYPE_CHECKING:
    from transformers import Trainer

__all__ = ["as_markdown", "as_text", "log_tables"]

NAME = "diversity/completions"


def log_tables(trainer: Trainer, rows: Sequence[Mapping[str, Any]], step: int) -> None:
    """Send completions, a line each, to W&B, trackio and TensorBoard, where the Trainer reports to these.

    Args:
        trainer: through whose own callbacks and their modules it goes.
        rows: of a file of outputs.
        step: of the run.
    """
    lines = list(_lines(rows))
    if not lines:
        return
    for callback in trainer.callback_handler.callbacks:
        kinds = {kind.__name__ for kind in type(callback).__mro__}
        for kind, module in (("WandbCallback", "wandb"), ("TrackioCallback", "trackio")):
            # Not a run of somebody else's, nor one that has ended.
            if kind in kinds and getattr(callback, "_initialized", True):
                _log_table(importlib.import_module(module), lines, step)
        writer = getattr(callback, "tb_writer", None) if "TensorBoardCallback" in kinds else None
        if writer is not None:
            writer.add_text(NAME, as_markdown(lines), step)
            writer.flush()


def _log_table(logger: Any, lines: Sequence[Mapping[str, Any]], step: int) -> None:
    # With the Trainer's own axis, since these loggers count their calls.
    logger.log({NAME: logger.Table(dataframe=_frame(lines)), "train/global_step": step})


def _lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        for number, text in enumerate(row["outputs"]):
            line = {"prompt": as_text(row["prompt"]), "sample": number, "completion": text}
            for name, column in (("ended", "ended"), ("reward", "rewards"), ("valid", "valid")):
                if column in row:
                    line[name] = row[column][number]
            yield line


def _frame(lines: Sequence[Mapping[str, Any]]) -> Any:
    return importlib.import_module("pandas").DataFrame(lines)


def as_text(prompt: Any) -> str:
    """Return a prompt as one text: of a conversation its messages, with the role before each."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{message.get('role')}: {message.get('content')}" for message in prompt)


def as_markdown(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return lines as a table in Markdown, in which text of a model stays text."""
    names = list(lines[0])
    return "\n".join(table(names, [[line[name] for name in names] for line in lines]))
