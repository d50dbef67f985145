"""Figures weighted by rows or tokens, whatever the batches and processes that they come in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, TypeAlias

import torch

from genrlhf.ops import widened, widest_dtype

__all__ = ["CountsRows", "Reduce", "Tally", "WeightedEvaluation", "sum_over_processes"]

Reduce: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
"""Takes a tensor of this process to one of all processes."""


def sum_over_processes(accelerator: Any, tensor: torch.Tensor) -> torch.Tensor:
    """Return the sum of a tensor over processes, on the device of the accelerator."""
    dtype = widest_dtype(accelerator.device) if tensor.dtype == torch.float64 else tensor.dtype
    total: torch.Tensor = accelerator.reduce(tensor.to(accelerator.device, dtype), reduction="sum")
    return total


class Tally:
    """Means and extremes by name; a mean is a sum and a count, as means of batch means would depend on the batch size.

    Sums stay on their device until `figures`: to fetch one is to wait for all that the device still has to do.
    """

    def __init__(self) -> None:
        self._totals: dict[str, torch.Tensor] = {}
        self._extremes: dict[str, torch.Tensor] = {}
        self._signs: dict[str, int] = {}
        self._later: list[tuple[str, Callable[[], float]]] = []

    def add(self, name: str, values: torch.Tensor, mask: torch.Tensor | None = None) -> None:
        """Count every one of `values` (where `mask` is True) into the mean called `name`."""
        values = widened(values.detach())
        if mask is None:
            self.add_sum(name, values.sum(), values.numel())
        else:
            # Not values[mask], whose size the host would have to know.
            self.add_sum(name, torch.where(mask, values, 0.0).sum(), mask.sum())

    def add_sum(self, name: str, total: torch.Tensor, count: torch.Tensor | int) -> None:
        """Count `total`, the sum over `count` rows or tokens, into the mean called `name`."""
        total = widened(total.detach())
        if isinstance(count, int):
            # Not torch.as_tensor, which would copy from the host.
            pair = torch.stack([total, torch.full_like(total, count)])
        else:
            count = widened(count.to(total.device))
            # What has no rows may be 0 / 0.
            pair = torch.stack([torch.where(count > 0, total, 0.0), count])
        self._totals[name] = self._totals[name] + pair if name in self._totals else pair

    def add_later(self, name: str, measure: Callable[[], float]) -> None:
        """Count what `measure` returns when the figures are asked for into the mean called `name`."""
        self._later.append((name, measure))

    def add_extreme(self, name: str, values: torch.Tensor, *, sign: int) -> None:
        """Keep the largest (`sign` 1) or smallest (−1) value as the figure called `name`."""
        largest = (widened(values.detach()) * sign).max()
        known = self._extremes.get(name)
        self._extremes[name] = largest if known is None else torch.maximum(known, largest)
        self._signs[name] = sign

    def figures(self, reduce: Reduce, gather: Reduce | None = None) -> dict[str, float]:
        """Return the means and extremes over all processes, and start afresh.

        Args:
            reduce: sums a tensor over processes.
            gather: stacks the tensors, (1,), of all processes; needed where there are extremes.
        """
        later, self._later = self._later, []
        for name, measure in later:
            self.add(name, torch.tensor(measure()))
        totals, self._totals = self._totals, {}
        extremes, self._extremes = self._extremes, {}
        means: dict[str, float] = {}
        for device in dict.fromkeys(total.device for total in totals.values()):
            names = [name for name, total in totals.items() if total.device == device]
            sums = reduce(torch.stack([totals[name] for name in names]))
            means |= dict(zip(names, (sums[:, 0] / sums[:, 1].clamp(min=1)).tolist(), strict=True))
        found = {name: means[name] for name in totals}
        for name, value in extremes.items():
            assert gather is not None
            found[name] = float(gather(value.unsqueeze(0)).max()) * self._signs[name]
        return found


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
