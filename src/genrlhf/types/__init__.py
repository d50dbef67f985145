"""Records and protocols that the layers share."""

from __future__ import annotations

from genrlhf.types.estimate import Estimate
from genrlhf.types.metrics import (
    DiversityMetric,
    HasBounds,
    HasDirection,
    HasRemarks,
    Judge,
    LeavesOut,
    MeasuresSets,
    NeedsTexts,
    UsesLogprobs,
)
from genrlhf.types.rewards import GroupRewardFunction, HasSettings, RewardFunction
from genrlhf.types.sampling import Sample, Sampler, SamplingParams, TokenSampler
from genrlhf.types.tokens import WHOLE_VOCABULARY, Generation, MaskingPolicy, Support, TokenBatch, Tokens, TrunkStates

__all__ = [
    "WHOLE_VOCABULARY",
    "DiversityMetric",
    "Estimate",
    "Generation",
    "GroupRewardFunction",
    "HasBounds",
    "HasDirection",
    "HasRemarks",
    "HasSettings",
    "Judge",
    "LeavesOut",
    "MaskingPolicy",
    "MeasuresSets",
    "NeedsTexts",
    "RewardFunction",
    "Sample",
    "Sampler",
    "SamplingParams",
    "Support",
    "TokenBatch",
    "TokenSampler",
    "Tokens",
    "TrunkStates",
    "UsesLogprobs",
]
