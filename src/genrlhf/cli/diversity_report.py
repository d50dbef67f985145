"""What `genrlhf diversity` prints, writes and draws."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.data.files import replacing
from genrlhf.errors import printable
from genrlhf.metrics.diversity.evaluation import DiversityEvaluation, Level, Undefined
from genrlhf.tables import aligned

if TYPE_CHECKING:
    from genrlhf.cli.solutions import SolutionsReport
    from genrlhf.metrics.paired import PairedComparison
    from genrlhf.types import Estimate

__all__ = ["comparisons", "figures", "plot", "table", "to_json", "write_csv"]

# By file, level and metric.
Figures = Mapping[str, Mapping[Level, Mapping[str, "Estimate | Undefined"]]]
Comparisons = Mapping[str, Mapping[Level, Mapping[str, "PairedComparison | Undefined"]]]

_TITLES = {"per_input": "per input", "across_input": "across inputs", "pooled": "pooled"}


def figures(found: Mapping[str, DiversityEvaluation], levels: Sequence[Level]) -> Figures:
    """Return all figures."""
    return {
        file: {level: {name: one.figure(level, name) for name in one.metrics} for level in levels}
        for file, one in found.items()
    }


def comparisons(found: Mapping[str, DiversityEvaluation], levels: Sequence[Level]) -> Comparisons:
    """Return the figures of every file but the first less those of the first."""
    (first_file, first), *others = found.items()
    in_order = [(file, one.in_order_of(first, (first_file, file))) for file, one in others]
    return {
        file: {level: {name: one.comparison(first, level, name) for name in one.metrics} for level in levels}
        for file, one in in_order
    }


def to_json(
    found: Mapping[str, DiversityEvaluation],
    figures: Figures,
    comparisons: Comparisons,
    *,
    counted: Mapping[str, str],
    warnings: Sequence[str],
    settings: Mapping[str, Any],
    solutions: SolutionsReport,
) -> dict[str, Any]:
    """Return the JSON form: the figures of one file, or of several by their names with the comparisons."""
    files = {
        file: {
            **{
                level: {name: _figure_json(figure, found[file], level, name) for name, figure in row.items()}
                for level, row in levels.items()
            },
            "inputs": len(found[file].keys),
            "outputs_per_input": found[file].outputs_per_input,
            "mean_words": round(found[file].mean_words, 3),
            "words_counted": counted[file],
            "script": found[file].tally.script,
            "scripts": dict(found[file].tally.scripts.most_common()),
            "outputs_without_words": found[file].tally.without_words,
            "remarks": {name: dict(said.counts) for name, said in found[file].remarks.items() if said.counts},
            **solutions.of_file(file),
        }
        for file, levels in figures.items()
    }
    lower = [name for name, metric in next(iter(found.values())).metrics.items() if not _higher(metric)]
    shared: dict[str, Any] = {
        "lower_is_more_diverse": lower,
        "settings": dict(settings),
        "warnings": list(warnings),
    }
    if len(files) == 1:
        return {**next(iter(files.values())), **shared}
    compared = {
        file: {
            **{level: {name: figure.to_dict() for name, figure in row.items()} for level, row in levels.items()},
            **solutions.of_comparison(file),
        }
        for file, levels in comparisons.items()
    }
    return {
        "files": files,
        **({"compared_with": next(iter(found)), "comparisons": compared} if compared else {}),
        **shared,
    }


def _figure_json(figure: Estimate | Undefined, one: DiversityEvaluation, level: Level, name: str) -> dict[str, Any]:
    error = one.pair_error(level, name)
    return {**figure.to_dict(), **({"pair_error": error} if error else {})}


def remarks(file: str, one: DiversityEvaluation) -> list[str]:
    """Return what readers must know of the outputs of a file: those that metrics leave out or see a part of."""
    names: dict[str, list[str]] = {}
    for name, said in one.remarks.items():
        for line in said.lines():
            names.setdefault(line, []).append(name)
    return [f"{file}: {line} ({', '.join(told)})." for line, told in names.items()]


def table(
    found: Mapping[str, DiversityEvaluation],
    figures: Figures,
    comparisons: Comparisons,
    counted: Mapping[str, str],
) -> str:
    """Return the figures as text, with a line on the script of every file's outputs."""
    blocks = []
    for file, levels in figures.items():
        one = found[file]
        title = (
            f"{file}: {len(one.keys)} inputs x {one.outputs_per_input} outputs, {one.mean_words:.1f} words an output"
        )
        blocks.append(_block(title, one, levels, _script(one, counted[file])))
    first = next(iter(found))
    blocks += [_block(f"{file} less {first}", found[file], levels) for file, levels in comparisons.items()]
    return "\n\n".join(blocks)


def _script(one: DiversityEvaluation, counted: str) -> str:
    """Return which script most outputs are in, and how words are counted."""
    name, scripts = one.tally.script, one.tally.scripts
    if name is None:
        return f"No output has a letter; {counted}"
    return f"Most outputs ({scripts[name] / scripts.total():.0%}) are in {name} script; {counted}"


def _block(title: str, one: DiversityEvaluation, levels: Mapping[Level, Mapping[str, Any]], *notes: str) -> str:
    rows = [["", *(_TITLES[level] for level in levels)]]
    rows += [[_label(name, one), *(_cell(row[name]) for row in levels.values())] for name in one.metrics]
    return "\n".join([*map(printable, (title, *notes)), *aligned(rows)])


def _label(name: str, one: DiversityEvaluation) -> str:
    return name if _higher(one.metrics[name]) else f"{name} (lower: more diverse)"


def _higher(metric: Any) -> bool:
    return bool(metric.higher_is_more_diverse)


def _cell(figure: Any) -> str:
    return f"undefined: {figure.reason}" if isinstance(figure, Undefined) else str(figure)


def write_csv(
    path: str,
    found: Mapping[str, DiversityEvaluation],
    figures: Figures,
    comparisons: Comparisons,
    solutions: SolutionsReport,
) -> None:
    """Write a line for every figure and comparison."""
    first = next(iter(found))
    lines: list[tuple[str, str, Mapping[Any, Mapping[str, Any]]]] = []
    for file, levels in figures.items():
        lines.append(("", file, {**levels, "solutions": solutions.figures.get(file, {})}))
    for file, compared in comparisons.items():
        lines.append((first, file, {**compared, "solutions": solutions.comparisons.get(file, {})}))
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as rows:
        writer = csv.writer(rows)
        writer.writerow("file less level metric value stderr ci_low ci_high n p_value mean_words reason".split())  # noqa: SIM905
        for less, file, levels in lines:
            for level, row in levels.items():
                for name, figure in row.items():
                    form = figure.to_dict()
                    numbers = [form["value"], form["stderr"], *form["ci"], form["n"], form.get("p_value")]
                    length = round(found[file].mean_words, 3)
                    writer.writerow([file, less, level, name, *numbers, length, form.get("reason")])


def plot(path: str, found: Mapping[str, DiversityEvaluation], figures: Figures) -> None:
    """Draw a panel for every metric and level: a point with its interval for every file."""
    from matplotlib.figure import Figure

    files = list(figures)
    levels = list(figures[files[0]])
    names = list(next(iter(found.values())).metrics)
    canvas = Figure(
        figsize=(1.2 + 2.2 * len(names), 0.8 + (0.6 + 0.35 * len(files)) * len(levels)), layout="constrained"
    )
    axes = canvas.subplots(len(levels), len(names), squeeze=False, sharey=True)
    for row, level in enumerate(levels):
        for column, name in enumerate(names):
            axis = axes[row][column]
            for place, file in enumerate(files):
                figure = figures[file][level][name]
                if isinstance(figure, Undefined):
                    continue
                low, high = (end if math.isfinite(end) else figure.value for end in figure.ci)
                errors = [[max(0.0, figure.value - low)], [max(0.0, high - figure.value)]]
                axis.errorbar(figure.value, place, xerr=errors, fmt="o", capsize=3, color=f"C{place}")
            axis.set_yticks(range(len(files)), [Path(file).name.replace("$", r"\$") for file in files])
            axis.set_ylim(len(files) - 0.5, -0.5)
            axis.grid(axis="x", alpha=0.3)
            if row == 0:
                axis.set_title(_label(name, next(iter(found.values()))).replace(" (", "\n("), fontsize=9)
            if column == 0:
                axis.set_ylabel(_TITLES[level])
    with replacing(path) as partial:
        canvas.savefig(partial, dpi=150, format=path.rpartition(".")[2])
