"""What a study or a comparison is shown as. Names are loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrlhf._lazy import attach

if TYPE_CHECKING:
    from genrlhf.studies.report.html import report_page, write_report
    from genrlhf.studies.report.plots import plot, plot_reward_kl
    from genrlhf.studies.report.tables import LABELS, judge_table, markdown_table, text_table

_HOMES = {
    "LABELS": "tables",
    "judge_table": "tables",
    "markdown_table": "tables",
    "plot": "plots",
    "plot_reward_kl": "plots",
    "report_page": "html",
    "text_table": "tables",
    "write_report": "html",
}

__all__ = [
    "LABELS",
    "judge_table",
    "markdown_table",
    "plot",
    "plot_reward_kl",
    "report_page",
    "text_table",
    "write_report",
]

__getattr__, __dir__ = attach(__name__, _HOMES)
