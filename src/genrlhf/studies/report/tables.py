"""Tables of a study's figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from genrlhf.errors import printable
from genrlhf.metrics.preference import validation_table
from genrlhf.tables import aligned, display_width
from genrlhf.types import Estimate

if TYPE_CHECKING:
    from genrlhf.metrics.preference import JudgeValidation

__all__ = ["LABELS", "Methods", "judge_table", "markdown_table", "metric_label", "set_label", "text_table"]

LABELS = {"base": "base", "sft": "SFT", "ppo": "PPO", "best_of_n": "best-of-N"}

Methods = Mapping[str, Mapping[str, Any]]


def _columns(figures: Mapping[str, Any]) -> dict[str, str]:
    """Return the cells of one method under their headings."""
    cells: dict[str, str] = {}
    for name, estimate in figures.get("pvr", {}).items():
        cells[f"PvR {set_label(name)}"] = _percent(estimate)
    for name, estimate in figures.get("gaps", {}).items():
        cells[f"gap {set_label(name)}"] = _percent(estimate)
    for level, label in (("per_input", "per input"), ("across_input", "across inputs")):
        for name, estimate in figures["diversity"][level].items():
            cells[f"{metric_label(name)} {label}"] = _number(estimate)
    for name, estimate in figures["reward"].items():
        if name in ("id", "ood"):
            cells[f"reward {set_label(name)}"] = _number(estimate)
    cells["KL"] = _number(figures["kl"])
    return cells


def set_label(name: str) -> str:
    """Return what an evaluation set is called in tables."""
    return {"id": "ID", "ood": "OOD"}.get(name, name.replace("_", " "))


def metric_label(name: str) -> str:
    """Return what a metric of diversity is called in tables."""
    return {"ead": "EAD", "sentence_bert": "S-BERT", "nli": "NLI"}.get(name, name.replace("_", "-"))


def _percent(estimate: Estimate) -> str:
    low, high = estimate.ci
    return f"{100 * estimate.value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _number(estimate: Estimate) -> str:
    low, high = estimate.ci
    if low == high:
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f} [{low:.2f}, {high:.2f}]"


def _rows(methods: Methods) -> list[list[str]]:
    """Return the table, methods across and figures down: intervals are wide and methods few."""
    columns = {LABELS.get(name, name): _columns(figures) for name, figures in methods.items()}
    headings = list(dict.fromkeys(heading for cells in columns.values() for heading in cells))
    rows = [["", *columns]]
    rows += [[heading, *(cells.get(heading, "") for cells in columns.values())] for heading in headings]
    return rows


def text_table(methods: Methods) -> str:
    """Return the figures as a table for a terminal, PvR and gap in percent, 95 % intervals in brackets."""
    return _aligned(_rows(methods))


def judge_table(found: Mapping[str, JudgeValidation]) -> str:
    """Return how a judge compares with humans as a table for a terminal, data sets across and what is known down."""
    columns = [[set_label(line[0]), *line[1:]] for line in validation_table(found)]
    columns[0][0] = ""
    unknown = "–"
    return _aligned([list(row) for row in zip(*columns, strict=True) if set(row[1:]) != {unknown}])


def _aligned(rows: list[list[str]]) -> str:
    lines = aligned(rows)
    return "\n".join([lines[0], "-" * max(map(display_width, lines)), *lines[1:]])


def markdown_table(methods: Methods) -> str:
    """Return the figures as a Markdown table, PvR and gap in percent, 95 % intervals in brackets."""
    first, *others = _rows(methods)
    lines = [first, ["---"] * len(first), *others]
    return (
        "\n".join("| " + " | ".join(printable(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
        + "\n"
    )
