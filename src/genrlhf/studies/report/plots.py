"""Plots of a study's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.studies.report.tables import LABELS, Methods, set_label
from genrlhf.types import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from genrlhf.studies.best_of_n import BestOfNPoint

__all__ = ["plot", "plot_reward_kl"]


def plot(methods: Methods, file: Path) -> None:
    """Plot generalisation (PvR, in and out of distribution) against per-input EAD, as PNG.

    Args:
        methods: figures with `pvr`.
        file: where the picture goes.
    """
    figure, axes = _axes()
    for number, (name, figures) in enumerate(methods.items()):
        diversity = figures["diversity"]["per_input"]["ead"]
        for where, marker, filled in (("id", "o", True), ("ood", "s", False)):
            if where not in figures["pvr"]:
                continue
            pvr, colour = figures["pvr"][where], f"C{number}"
            axes.errorbar(
                diversity.value,
                100 * pvr.value,
                xerr=_arms(diversity, 1),
                yerr=_arms(pvr, 100),
                fmt=marker,
                color=colour,
                markerfacecolor=colour if filled else "white",
                capsize=2,
                label=f"{LABELS.get(name, name)}, {set_label(where)}",
            )
    axes.set_xlabel("per-input diversity (EAD)")
    axes.set_ylabel("preferred to the reference (%)")
    _save(figure, axes, file)


def plot_reward_kl(points: Sequence[BestOfNPoint], methods: Methods, file: Path) -> None:
    """Plot reward against KL from the SFT model: best-of-n as a curve over n, every other method as a point, as PNG.

    The KL axis is a square root's, on which the reward of best-of-n rises nearly in a straight line at first (Gao,
    Schulman & Hilton 2023, "Scaling Laws for Reward Model Overoptimization").

    Args:
        points: of best-of-n; their KL is the upper bound.
        methods: figures with `reward` and `kl`; best-of-N is left out, being the last point of the curve.
        file: where the picture goes.
    """
    import numpy as np

    figure, axes = _axes()
    kl, rewards = [point.kl for point in points], [point.reward for point in points]
    axes.errorbar(
        kl,
        [reward.value for reward in rewards],
        yerr=np.hstack([_arms(reward, 1) for reward in rewards]),
        fmt="o-",
        color="black",
        capsize=2,
        label="best-of-n (bound on its KL)",
    )
    for point in points:
        axes.annotate(f"n = {point.n}", (point.kl, point.reward.value), (6, -12), textcoords="offset points")
    for number, (name, figures) in enumerate(methods.items()):
        if name != "best_of_n":
            _point(axes, figures, f"C{number}", LABELS.get(name, name))
    axes.set_xscale("function", functions=(lambda x: np.sign(x) * np.sqrt(np.abs(x)), lambda x: np.sign(x) * x**2))
    axes.set_xlabel("KL from the SFT model (nats an output, square-root axis)")
    axes.set_ylabel("reward (in distribution)")
    _save(figure, axes, file)


def _point(axes: Axes, figures: Mapping[str, Any], colour: str, label: str) -> None:
    reward, kl = figures["reward"]["id"], figures["kl"]
    axes.errorbar(
        kl.value, reward.value, xerr=_arms(kl, 1), yerr=_arms(reward, 1), fmt="s", color=colour, capsize=2, label=label
    )


def _axes() -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _save(figure: Figure, axes: Axes, file: Path) -> None:
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(file, dpi=150, metadata={"Software": None})


def _arms(estimate: Estimate, scale: float) -> list[list[float]]:
    low, high = estimate.ci
    return [[scale * (estimate.value - low)], [scale * (high - estimate.value)]]
