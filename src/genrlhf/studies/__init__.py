"""Methods side by side: trained, sampled and measured alike. Names are loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrlhf._lazy import attach

if TYPE_CHECKING:
    from genrlhf.studies.best_of_n import BestOfNPoint, best_of_n_curve
    from genrlhf.studies.demo import run_demo
    from genrlhf.studies.judge_validation import validate_reward_model
    from genrlhf.studies.judges import LocalJudge, RewardModelJudge
    from genrlhf.studies.recipe import Recipe
    from genrlhf.studies.report import (
        judge_table,
        markdown_table,
        plot,
        plot_reward_kl,
        report_page,
        text_table,
        write_report,
    )
    from genrlhf.studies.study import Study, load_study

_HOMES = {
    "BestOfNPoint": "best_of_n",
    "LocalJudge": "judges",
    "Recipe": "recipe",
    "RewardModelJudge": "judges",
    "Study": "study",
    "best_of_n_curve": "best_of_n",
    "judge_table": "report",
    "load_study": "study",
    "markdown_table": "report",
    "plot": "report",
    "plot_reward_kl": "report",
    "report_page": "report",
    "run_demo": "demo",
    "text_table": "report",
    "validate_reward_model": "judge_validation",
    "write_report": "report",
}

__all__ = [
    "BestOfNPoint",
    "LocalJudge",
    "Recipe",
    "RewardModelJudge",
    "Study",
    "best_of_n_curve",
    "judge_table",
    "load_study",
    "markdown_table",
    "plot",
    "plot_reward_kl",
    "report_page",
    "run_demo",
    "text_table",
    "validate_reward_model",
    "write_report",
]

__getattr__, __dir__ = attach(__name__, _HOMES)
