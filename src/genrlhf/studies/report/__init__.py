"""What a study or a comparison is shown as. Names are loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrlhf._lazy import attach

if TYPE_CHECKING:
    from genrlhf.studies.report.plots import plot, plot_reward_kl
    from genrlhf.studies.report.tables import LABELS, judge_table, markdown_table, text_table

_HOMES = {
    "LABELS": "tables",
    "judge_table": "tables",
    "markdown_table": "tables",
    "plot": "plots",
    "plot_reward_kl": "plots",
    "text_table": "tables",
}

__all__ = ["LABELS", "judge_table", "markdown_table", "plot", "plot_reward_kl", "text_table"]

__getattr__, __dir__ = attach(__name__, _HOMES)
