"""Loading, pad tokens, freezing, scalar heads and the forward passes that trainers share."""

from __future__ import annotations

from genrlhf.models.freezing import disable_dropout, freeze_layers
from genrlhf.models.heads import ScalarHead
from genrlhf.models.loading import load_causal_lm, load_for_reward_training, load_reward_model, load_tokenizer
from genrlhf.models.score_heads import reset_score_head
from genrlhf.models.scoring import encode_pairs, score_batch
from genrlhf.models.structure import decoder_layers
from genrlhf.models.tokens import ensure_pad_token

__all__ = [
    "ScalarHead",
    "decoder_layers",
    "disable_dropout",
    "encode_pairs",
    "ensure_pad_token",
    "freeze_layers",
    "load_causal_lm",
    "load_for_reward_training",
    "load_reward_model",
    "load_tokenizer",
    "reset_score_head",
    "score_batch",
]
