"""From the figures of single stages to the results of a study."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, cast

import numpy as np

from genrlhf.studies.curves import Point, draw_curves
from genrlhf.studies.results import Curve, Figures, diversity_of, quality_of
from genrlhf.studies.seeds import gap_over_seeds, mean_over_seeds, pooled_over_seeds, share_over_seeds
from genrlhf.types import Estimate

__all__ = ["curves_of", "over_seeds", "plane_of", "versions"]

_UNIT = (0.0, 1.0)
_SHARES = ("pvr", "pass_at_k")
_VERSIONS = ("genrlhf", "torch", "transformers", "trl", "peft", "datasets")


def over_seeds(by_seed: Mapping[int, Mapping[str, Any]]) -> Figures:
    """Return the figures over all seeds, with those of single seeds beside them.

    Those with a value of every input for every seed have an interval of seeds and inputs both; others, such as
    diversity across inputs or PvR where a judge gave no answer to some, are pooled.

    Args:
        by_seed: figures of every seed, with the values of their estimates.
    """
    seeds = list(by_seed.values())
    alone = {str(seed): figures for seed, figures in by_seed.items()}
    if len(seeds) == 1:
        return cast(Figures, {**seeds[0], "seeds": alone})
    found: dict[str, Any] = {
        name: _each(name, [figures[name] for figures in seeds])
        for name in seeds[0]
        if name not in ("gap", "gaps", "verdicts") and all(name in figures for figures in seeds)
    }
    if all("gaps" in figures for figures in seeds):
        found["gaps"] = {name: _gap(seeds, name) for name in seeds[0]["gaps"]}
        found |= {"gap": found["gaps"]["ood"]} if "ood" in found["gaps"] else {}
    return cast(Figures, {**found, "seeds": alone})


def _each(name: str, figures: Sequence[Any]) -> Any:
    """Return a figure, or every figure in a mapping, over all seeds."""
    if isinstance(figures[0], Estimate):
        return _together(figures, share_over_seeds if name in _SHARES else mean_over_seeds, name in _SHARES)
    keys = [key for key in figures[0] if all(key in one for one in figures)]
    return {key: _each("" if name == "diversity" else name, [one[key] for one in figures]) for key in keys}


def _together(estimates: Sequence[Estimate], over: Callable[[Any], Estimate], share: bool) -> Estimate:
    if all(one.value == estimates[0].value and one.stderr == 0 for one in estimates):
        return estimates[0]  # known, and not measured
    table = _table(estimates)
    if table is None:
        return pooled_over_seeds(estimates, bounds=_UNIT if share else None)
    return over(table)


def _table(estimates: Sequence[Estimate]) -> np.ndarray | None:
    """Return (seeds, inputs) values; None where not every seed has one of every input, or they say another figure."""
    rows = [one.values for one in estimates]
    if not len(rows[0]) or any(len(row) != len(rows[0]) for row in rows) or np.isnan(rows).any():
        return None
    plain = all(np.isclose(row.mean(), one.value) for row, one in zip(rows, estimates, strict=True))
    return np.stack(rows) if plain else None


def _gap(seeds: Sequence[Mapping[str, Any]], name: str) -> Estimate:
    inside, outside = (_table([figures["pvr"][each] for figures in seeds]) for each in ("id", name))
    if inside is None or outside is None:
        return pooled_over_seeds([figures["gaps"][name] for figures in seeds], bounds=(-1.0, 1.0))
    return gap_over_seeds(inside, outside)


def plane_of(figures: Sequence[Figures]) -> tuple[str | None, str | None]:
    """Return which figures are quality and diversity: the first that any method at any temperature has."""
    quality = next((name for name in ("pvr", "gold", "reward") if any(name in each for each in figures)), None)
    metrics = [name for each in figures for name in each.get("diversity", {}).get("per_input", {})]
    return quality, f"per_input.{metrics[0]}" if metrics else None


def curves_of(
    figures: Mapping[tuple[str, str], Figures],
    *,
    quality: str | None,
    diversity: str | None,
    several: int,
    reference: str | None,
    free: Sequence[str],
) -> dict[str, Curve]:
    """Return the curve of every method.

    Args:
        figures: by method and temperature, with the values of their estimates.
        quality: which figure is quality, see `Results`.
        diversity: which one is diversity.
        several: so many inputs, the first, have a diversity of their own.
        reference: the method whose quality the others are compared at.
        free: the controls that cost no training.
    """
    points: dict[str, list[Point]] = {name: [] for name, _ in figures}
    for (name, temperature), each in figures.items():
        good, diverse = quality_of(each, quality, "id"), diversity_of(each, diversity)
        if good is not None and diverse is not None:
            seeds = list(each["seeds"].values())
            qualities = _table([seed[quality]["id"] for seed in seeds])
            diversities = _table([cast(Estimate, diversity_of(seed, diversity)) for seed in seeds])
            if qualities is None or diversities is None or diversities.shape[1] != several:
                qualities = diversities = None  # which value is of which input is not known
            else:
                rest = qualities.shape[1] - several
                diversities = np.pad(diversities, ((0, 0), (0, rest)), constant_values=np.nan)
            points[name].append(Point(temperature, good, diverse, qualities, diversities, tuple(each["seeds"])))
    return draw_curves(points, reference=reference, free=free, share=quality == "pvr")


def versions() -> dict[str, str]:
    """Return the versions of what figures depend on."""
    found = {"python": platform.python_version()}
    for name in _VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
