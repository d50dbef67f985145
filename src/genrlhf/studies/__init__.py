"""Methods side by side: trained, sampled and measured alike. Names are loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrlhf._lazy import attach

if TYPE_CHECKING:
    from genrlhf.studies.best_of_n import BestOfNPoint, best_of_n_curve
    from genrlhf.studies.compare import run_comparison
    from genrlhf.studies.compare_models import Drawing
    from genrlhf.studies.curves import Point, draw_curves, pareto_front
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
    from genrlhf.studies.results import read_results
    from genrlhf.studies.results_text import results_table
    from genrlhf.studies.seeds import mean_over_seeds, share_over_seeds, variance_components
    from genrlhf.studies.study import Study, load_study

_HOMES = {
    "BestOfNPoint": "best_of_n",
    "Drawing": "compare_models",
    "LocalJudge": "judges",
    "Point": "curves",
    "Recipe": "recipe",
    "RewardModelJudge": "judges",
    "Study": "study",
    "best_of_n_curve": "best_of_n",
    "draw_curves": "curves",
    "judge_table": "report",
    "load_study": "study",
    "markdown_table": "report",
    "mean_over_seeds": "seeds",
    "pareto_front": "curves",
    "plot": "report",
    "plot_reward_kl": "report",
    "read_results": "results",
    "report_page": "report",
    "results_table": "results_text",
    "run_comparison": "compare",
    "run_demo": "demo",
    "share_over_seeds": "seeds",
    "text_table": "report",
    "validate_reward_model": "judge_validation",
    "variance_components": "seeds",
    "write_report": "report",
}

__all__ = [
    "BestOfNPoint",
    "Drawing",
    "LocalJudge",
    "Point",
    "Recipe",
    "RewardModelJudge",
    "Study",
    "best_of_n_curve",
    "draw_curves",
    "judge_table",
    "load_study",
    "markdown_table",
    "mean_over_seeds",
    "pareto_front",
    "plot",
    "plot_reward_kl",
    "read_results",
    "report_page",
    "results_table",
    "run_comparison",
    "run_demo",
    "share_over_seeds",
    "text_table",
    "validate_reward_model",
    "variance_components",
    "write_report",
]

__getattr__, __dir__ = attach(__name__, _HOMES)
