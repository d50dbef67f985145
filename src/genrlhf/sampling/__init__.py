"""Drawing completions: one layer for PPO, best-of-N and evaluation. Names are loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrlhf._lazy import attach

if TYPE_CHECKING:
    from genrlhf.sampling.autoregressive import generate, stop_token_ids
    from genrlhf.sampling.choose import sample_seeds
    from genrlhf.sampling.decode import decode_completions, encode_prompts
    from genrlhf.sampling.server_sampler import ServerSampler
    from genrlhf.sampling.store import SampleStore
    from genrlhf.sampling.transformers_sampler import TransformersSampler
    from genrlhf.sampling.verbalized import VerbalizedSampler
    from genrlhf.sampling.vllm_sampler import VLLMSampler

_HOMES = {
    "SampleStore": "store",
    "ServerSampler": "server_sampler",
    "TransformersSampler": "transformers_sampler",
    "VLLMSampler": "vllm_sampler",
    "VerbalizedSampler": "verbalized",
    "decode_completions": "decode",
    "encode_prompts": "decode",
    "generate": "autoregressive",
    "sample_seeds": "choose",
    "stop_token_ids": "autoregressive",
}

__all__ = [
    "SampleStore",
    "ServerSampler",
    "TransformersSampler",
    "VLLMSampler",
    "VerbalizedSampler",
    "decode_completions",
    "encode_prompts",
    "generate",
    "sample_seeds",
    "stop_token_ids",
]

__getattr__, __dir__ = attach(__name__, _HOMES)
