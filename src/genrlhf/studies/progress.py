"""What a study says while it works, on stderr."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState

from genrlhf.studies.reporter import Reporter

__all__ = ["ProgressLines", "Reporter", "quiet_libraries"]


def quiet_libraries() -> None:
    """Switch off the progress bars and notices that the libraries beneath would mix into a study's own."""
    import datasets
    from transformers.utils import logging

    datasets.disable_progress_bars()
    logging.disable_progress_bar()
    logging.set_verbosity_error()


class ProgressLines(TrainerCallback):
    """Prints a line for every log of a trainer: its step and the figures asked for.

    Args:
        report: prints.
        stage: what the line starts with.
        figures: label and key of what is shown.
    """

    def __init__(self, report: Callable[[str], None], stage: str, figures: dict[str, str]) -> None:
        self.report = report
        self.stage = stage
        self.figures = figures

    @classmethod
    def attach(cls, trainer: Trainer, report: Callable[[str], None], stage: str, figures: dict[str, str]) -> None:
        """Let `trainer` report here, and nowhere else on the terminal."""
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(cls(report, stage, figures))

    def on_log(
        self,
        args: Any,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Print the figures that `logs` holds."""
        shown = [f"{label} {logs[key]:.3f}" for label, key in self.figures.items() if logs and key in logs]
        if shown:
            # An evaluation before training does not know yet how long that will be.
            place = f"step {state.global_step}/{state.max_steps}" if state.max_steps > 0 else "not begun"
            self.report(f"{self.stage}: {place}  {'  '.join(shown)}")
