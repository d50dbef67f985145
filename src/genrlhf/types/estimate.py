"""A figure with its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "Estimate",
]


@dataclass(frozen=True)
class Estimate:
    """A figure with its uncertainty.

    Attributes:
        value: the point estimate.
        stderr: its standard error; NaN where `n` is 1.
        ci: lower and upper end of the 95 % interval.
        n: number of units (inputs) behind it.
        values: the per-unit values, shape (n,), float64.
    """

    value: float
    stderr: float
    ci: tuple[float, float]
    n: int
    values: np.ndarray = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return `{"value", "stderr", "ci": [lo, hi], "n"}`, the JSON form; NaN becomes None."""

        def number(x: float) -> float | None:
            return None if x != x else float(x)

        return {
            "value": number(self.value),
            "stderr": number(self.stderr),
            "ci": [number(self.ci[0]), number(self.ci[1])],
            "n": self.n,
        }

    def __format__(self, spec: str) -> str:
        """Return value and interval, each in `spec`: `f"{estimate:.1f}"` is such as "0.3 [0.2, 0.4]".

        Where nothing bounds the value, there is no interval: "0.3 [unknown]".
        """
        spec = spec or ".3f"
        low, high = self.ci
        ends = "unknown" if low != low or high != high else f"{low:{spec}}, {high:{spec}}"
        return f"{self.value:{spec}} [{ends}]"

    def __str__(self) -> str:
        return format(self)
