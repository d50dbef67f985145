"""Which outputs a judge prefers. Names are loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrlhf._lazy import attach

if TYPE_CHECKING:
    from genrlhf.metrics.preference.counting.annotations import (
        AnnotationWinRate,
        annotation_win_rates,
        known_preferences,
    )
    from genrlhf.metrics.preference.counting.between_models import compare_win_rates, head_to_head
    from genrlhf.metrics.preference.counting.generalisation import (
        GeneralisationGaps,
        generalisation_gap,
        generalisation_gaps,
        word_shift,
    )
    from genrlhf.metrics.preference.counting.length_control import length_controlled
    from genrlhf.metrics.preference.counting.winrate import WinRate, preference_vs_reference, win_rate
    from genrlhf.metrics.preference.judging.alpaca_eval import AlpacaEvalJudge, load_alpaca_eval_judge
    from genrlhf.metrics.preference.judging.answer_store import AnswerStore, ModelAnswer, NoAnswer
    from genrlhf.metrics.preference.judging.comparisons import Comparison, JudgedComparisons, judge_comparisons
    from genrlhf.metrics.preference.judging.endpoint import ChatEndpoint
    from genrlhf.metrics.preference.judging.judges import ScoreJudge
    from genrlhf.metrics.preference.judging.openai_judge import OpenAIJudge
    from genrlhf.metrics.preference.judging.prompt_judge import JudgeAnswer, PromptJudge
    from genrlhf.metrics.preference.judging.templates import JudgeTemplate, judge_template
    from genrlhf.metrics.preference.validating.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha
    from genrlhf.metrics.preference.validating.matching import pairs_from_preferences
    from genrlhf.metrics.preference.validating.validation import JudgeValidation, validate_judge, validation_table

_HOMES = {
    "AlpacaEvalJudge": "judging.alpaca_eval",
    "AnnotationWinRate": "counting.annotations",
    "AnswerStore": "judging.answer_store",
    "ChatEndpoint": "judging.endpoint",
    "Comparison": "judging.comparisons",
    "GeneralisationGaps": "counting.generalisation",
    "JudgeAnswer": "judging.prompt_judge",
    "JudgeTemplate": "judging.templates",
    "JudgeValidation": "validating.validation",
    "JudgedComparisons": "judging.comparisons",
    "ModelAnswer": "judging.answer_store",
    "NoAnswer": "judging.answer_store",
    "OpenAIJudge": "judging.openai_judge",
    "PromptJudge": "judging.prompt_judge",
    "ScoreJudge": "judging.judges",
    "WinRate": "counting.winrate",
    "annotation_win_rates": "counting.annotations",
    "cohen_kappa": "validating.agreement",
    "compare_win_rates": "counting.between_models",
    "fleiss_kappa": "validating.agreement",
    "generalisation_gap": "counting.generalisation",
    "generalisation_gaps": "counting.generalisation",
    "head_to_head": "counting.between_models",
    "judge_comparisons": "judging.comparisons",
    "judge_template": "judging.templates",
    "known_preferences": "counting.annotations",
    "krippendorff_alpha": "validating.agreement",
    "length_controlled": "counting.length_control",
    "load_alpaca_eval_judge": "judging.alpaca_eval",
    "pairs_from_preferences": "validating.matching",
    "preference_vs_reference": "counting.winrate",
    "validate_judge": "validating.validation",
    "validation_table": "validating.validation",
    "win_rate": "counting.winrate",
    "word_shift": "counting.generalisation",
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
    "NoAnswer",
    "OpenAIJudge",
    "PromptJudge",
    "ScoreJudge",
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
    "krippendorff_alpha",
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
