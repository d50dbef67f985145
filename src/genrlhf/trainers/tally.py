"""Figures weighted by rows or tokens, whatever the batches and processes that they come in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from genrlhf.ops import widened, widest_dtype

__all__ = ["Reduce", "Tally", "sum_over_processes"]

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
