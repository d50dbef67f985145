"""What outputs solve, where code, a judge or a threshold says which are right, and how different the right ones are.

Verdicts in, an `Estimate` out. Names are loaded when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrlhf._lazy import attach

if TYPE_CHECKING:
    from genrlhf.metrics.solutions.answers import (
        answer_coverage,
        distinct_valid,
        effective_answers,
        kl_to_uniform,
        valid_share,
        valid_yield,
    )
    from genrlhf.metrics.solutions.between_models import ModelHomogeneity, homogeneity_between
    from genrlhf.metrics.solutions.crossing import CrossingPoint, crossing_point
    from genrlhf.metrics.solutions.filtered import (
        FilteredDiversity,
        effective_semantic_diversity,
        quality_filtered_diversity,
    )
    from genrlhf.metrics.solutions.majority import majority_at_k
    from genrlhf.metrics.solutions.passing import cover_at_tau, pass_at_k, pass_hat_k
    from genrlhf.metrics.solutions.phrases import OverUsedPhrase, over_used_phrases
    from genrlhf.metrics.solutions.verdicts import verdicts_from_scores

_HOMES = {
    "CrossingPoint": "crossing",
    "FilteredDiversity": "filtered",
    "ModelHomogeneity": "between_models",
    "OverUsedPhrase": "phrases",
    "answer_coverage": "answers",
    "cover_at_tau": "passing",
    "crossing_point": "crossing",
    "distinct_valid": "answers",
    "effective_answers": "answers",
    "effective_semantic_diversity": "filtered",
    "homogeneity_between": "between_models",
    "kl_to_uniform": "answers",
    "majority_at_k": "majority",
    "over_used_phrases": "phrases",
    "pass_at_k": "passing",
    "pass_hat_k": "passing",
    "quality_filtered_diversity": "filtered",
    "valid_share": "answers",
    "valid_yield": "answers",
    "verdicts_from_scores": "verdicts",
}

__all__ = [
    "CrossingPoint",
    "FilteredDiversity",
    "ModelHomogeneity",
    "OverUsedPhrase",
    "answer_coverage",
    "cover_at_tau",
    "crossing_point",
    "distinct_valid",
    "effective_answers",
    "effective_semantic_diversity",
    "homogeneity_between",
    "kl_to_uniform",
    "majority_at_k",
    "over_used_phrases",
    "pass_at_k",
    "pass_hat_k",
    "quality_filtered_diversity",
    "valid_share",
    "valid_yield",
    "verdicts_from_scores",
]

__getattr__, __dir__ = attach(__name__, _HOMES)
