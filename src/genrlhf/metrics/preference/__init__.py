"""Which outputs a judge prefers. Names are loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrlhf._lazy import attach

if TYPE_CHECKING:
    from genrlhf.metrics.preference.agreement import cohen_kappa, fleiss_kappa
    from genrlhf.metrics.preference.alpaca_eval import AlpacaEvalJudge, load_alpaca_eval_judge
    from genrlhf.metrics.preference.annotations import AnnotationWinRate, annotation_win_rates, known_preferences
    from genrlhf.metrics.preference.answer_store import AnswerStore, ModelAnswer
    from genrlhf.metrics.preference.between_models import compare_win_rates, head_to_head
    from genrlhf.metrics.preference.comparisons import Comparison, JudgedComparisons, judge_comparisons
    from genrlhf.metrics.preference.endpoint import ChatEndpoint
    from genrlhf.metrics.preference.generalisation import (
        GeneralisationGaps,
        generalisation_gap,
        generalisation_gaps,
        word_shift,
    )
    from genrlhf.metrics.preference.judges import ScoreJudge
    from genrlhf.metrics.preference.length_control import length_controlled
    from genrlhf.metrics.preference.matching import pairs_from_preferences
    from genrlhf.metrics.preference.openai_judge import OpenAIJudge
    from genrlhf.metrics.preference.prompt_judge import JudgeAnswer, PromptJudge
    from genrlhf.metrics.preference.spending import Usage
    from genrlhf.metrics.preference.templates import JudgeTemplate, judge_template
    from genrlhf.metrics.preference.validation import JudgeValidation, validate_judge, validation_table
    from genrlhf.metrics.preference.winrate import WinRate, preference_vs_reference, win_rate

_HOMES = {
    "AlpacaEvalJudge": "alpaca_eval",
    "AnnotationWinRate": "annotations",
    "AnswerStore": "answer_store",
    "ChatEndpoint": "endpoint",
    "Comparison": "comparisons",
    "GeneralisationGaps": "generalisation",
    "JudgeAnswer": "prompt_judge",
    "JudgeTemplate": "templates",
    "JudgeValidation": "validation",
    "JudgedComparisons": "comparisons",
    "ModelAnswer": "answer_store",
    "OpenAIJudge": "openai_judge",
    "PromptJudge": "prompt_judge",
    "ScoreJudge": "judges",
    "Usage": "spending",
    "WinRate": "winrate",
    "annotation_win_rates": "annotations",
    "cohen_kappa": "agreement",
    "compare_win_rates": "between_models",
    "fleiss_kappa": "agreement",
    "generalisation_gap": "generalisation",
    "generalisation_gaps": "generalisation",
    "head_to_head": "between_models",
    "judge_comparisons": "comparisons",
    "judge_template": "templates",
    "known_preferences": "annotations",
    "length_controlled": "length_control",
    "load_alpaca_eval_judge": "alpaca_eval",
    "pairs_from_preferences": "matching",
    "preference_vs_reference": "winrate",
    "validate_judge": "validation",
    "validation_table": "validation",
    "win_rate": "winrate",
    "word_shift": "generalisation",
}

__all__ = [
    "AlpacaEvalJudge",
    "AnnotationWinRate",
    "AnswerStore",
    "ChatEndpoint",
    "Comparison",
    "GeneralisationGaps",
    "JudgeAnswer",
    "JudgeTemplate",
    "JudgeValidation",
    "JudgedComparisons",
    "ModelAnswer",
    "OpenAIJudge",
    "PromptJudge",
    "ScoreJudge",
    "Usage",
    "WinRate",
    "annotation_win_rates",
    "cohen_kappa",
    "compare_win_rates",
    "fleiss_kappa",
    "generalisation_gap",
    "generalisation_gaps",
    "head_to_head",
    "judge_comparisons",
    "judge_template",
    "known_preferences",
    "length_controlled",
    "load_alpaca_eval_judge",
    "pairs_from_preferences",
    "preference_vs_reference",
    "validate_judge",
    "validation_table",
    "win_rate",
    "word_shift",
]

__getattr__, __dir__ = attach(__name__, _HOMES)
