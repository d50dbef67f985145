"""What a Trainer logs and divides by, counted in rows or tokens whatever the batches and processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch

from genrlhf.trainers.tally import Tally, sum_over_processes

__all__ = ["CountsRows", "WeightedEvaluation"]


class WeightedEvaluation:
    """Logs and evaluates the figures that `compute_loss` puts into `self.tally`, under each set's own name."""

    model: Any
    accelerator: Any
    _tallies: dict[bool, Tally]

    @property
    def tally(self) -> Tally:
        """The figures of training or of evaluation, whichever is under way."""
        if not hasattr(self, "_tallies"):
            self._tallies = {True: Tally(), False: Tally()}
        return self._tallies[bool(self.model.training)]

    def _figures(self) -> dict[str, float]:
        return self.tally.figures(
            lambda tensor: sum_over_processes(self.accelerator, tensor),
            lambda tensor: self.accelerator.gather(tensor.to(self.accelerator.device)),
        )

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> Any:
        """Return the figures of one evaluation set, `{prefix}_{name}` each."""
        self.model.eval()
        self._figures()  # of an evaluation that was cut off
        prepared = getattr(self.model, "_is_accelerate_prepared", False)
        output = super().evaluation_loop(  # type: ignore[misc]
            dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
        )
        if not prepared and self.accelerator.num_processes > 1 and not self._wraps_itself:
            # Evaluation marks the model as prepared, unwrapped; training would then leave out DistributedDataParallel,
            # and every process would train on its own batches alone.
            self.model._is_accelerate_prepared = False
        output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in self._figures().items()})
        return output

    @property
    def _wraps_itself(self) -> bool:
        """Whether evaluation wraps the model as training does."""
        return bool(getattr(self, "is_deepspeed_enabled", False) or getattr(self, "is_fsdp_enabled", False))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log `logs` and, while training, the means over what was trained on since the last time."""
        if "loss" in logs:
            logs = {**logs, **self._figures()}
        super().log(logs, start_time)  # type: ignore[misc]


class CountsRows:
    """Has the loss of an optimizer step be a mean over its rows, whatever the accumulation and the processes."""

    # The loss is a sum over rows divided by their number in the whole step.
    loss_is_scaled_for_ga = True
    sequences_per_row: ClassVar[int] = 2
    """Texts of a row, such as the two of a pair, each of which is a line of the batch."""

    accelerator: Any

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor | None]:
        """Return the batches of the next optimizer step, and the number of their rows on all processes."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)  # type: ignore[misc]
        if not batches:
            return batches, None
        rows = torch.tensor(float(sum(map(self.rows_in, batches))), device=device)
        return batches, self.accelerator.reduce(rows, reduction="sum")

    def rows_in(self, batch: Any) -> int:
        """Return the number of rows that a batch holds."""
        return len(batch["input_ids"]) // self.sequences_per_row

    def share_of_step(self, total: torch.Tensor, rows_of_step: torch.Tensor | int) -> torch.Tensor:
        """Return what a sum over a batch's rows adds to the mean over those of the step.

        Gradients are averaged over processes, while the number of rows is that of all of them.
        """
        return total / rows_of_step * int(self.accelerator.num_processes)
