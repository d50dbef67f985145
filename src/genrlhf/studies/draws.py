"""How each method draws its outputs, and how far it is from the SFT model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from genrlhf.models import ensure_pad_token, load_causal_lm, load_tokenizer
from genrlhf.models.completions import completion_logits
from genrlhf.ops import logprobs_and_entropy
from genrlhf.rewards.groups import as_group_reward
from genrlhf.sampling import TransformersSampler, decode_completions
from genrlhf.sampling.choose import sample_seeds
from genrlhf.types import Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from genrlhf.sampling import VerbalizedSampler
    from genrlhf.studies.stages.outputs import Draw
    from genrlhf.types import GroupRewardFunction, SamplingParams

__all__ = ["best_of_n_draw", "given_draw", "policy_draw", "sampler_of", "sequence_kl", "verbalized_draw"]


def sampler_of(folder: str, *, batch_size: int = 256) -> TransformersSampler:
    """Return a sampler of the model that lies in `folder`, on the GPU where there is one."""
    model, tokenizer = load_causal_lm(folder), load_tokenizer(folder)
    ensure_pad_token(tokenizer, model)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    return TransformersSampler(model.eval(), tokenizer, batch_size=batch_size)


def policy_draw(sampler: TransformersSampler, params: SamplingParams, seed: int) -> Draw:
    """Return a draw of plain samples."""

    def draw(prompts: Sequence[Any], rows: Sequence[int], n: int) -> list[list[str]]:
        generation = sampler.generate(prompts, n, params, sample_seeds(seed, rows, n))
        texts = decode_completions(sampler.tokenizer, generation, params)
        return [texts[i : i + n] for i in range(0, len(texts), n)]

    return draw


def verbalized_draw(sampler: VerbalizedSampler, params: SamplingParams, seed: int) -> Draw:
    """Return a draw of one response of a call each, by the probabilities that the model states."""

    def draw(prompts: Sequence[Any], rows: Sequence[int], n: int) -> list[list[str]]:
        found = sorted(sampler.stream(prompts, n, params, seed, rows=rows), key=lambda pair: pair[0])
        return [[sample.text for sample in samples] for _, samples in found]

    return draw


def given_draw(pool: Sequence[Mapping[str, Any]]) -> Draw:
    """Return a draw of what is there: of every row the first `outputs`, as many as are asked for."""

    def draw(prompts: Sequence[Any], rows: Sequence[int], n: int) -> list[list[str]]:
        return [list(pool[row]["outputs"][:n]) for row in rows]

    return draw


def best_of_n_draw(pool: Sequence[Mapping[str, Any]], n: int, group_reward: GroupRewardFunction | None = None) -> Draw:
    """Return a draw of which every output is the one with the highest reward of `n` samples that no other draws on.

    Args:
        pool: `prompt`, `outputs` and `rewards` of every row, at least `n` for each output that will be asked for.
        n: samples that an output is chosen from.
        group_reward: makes what is chosen by of their rewards; None for these themselves.
    """
    grouped = as_group_reward(group_reward)

    def best(row: Mapping[str, Any], start: int) -> str:
        outputs, rewards = row["outputs"][start : start + n], row["rewards"][start : start + n]
        if grouped is not None:
            (rewards,) = grouped.rewards(
                [row["prompt"]], [outputs], torch.tensor([rewards], dtype=torch.float32), {}
            ).tolist()
        return str(outputs[max(range(n), key=rewards.__getitem__)])

    def draw(prompts: Sequence[Any], rows: Sequence[int], k: int) -> list[list[str]]:
        return [[best(pool[row], start) for start in range(0, k * n, n)] for row in rows]

    return draw


@torch.no_grad()
def sequence_kl(
    sampler: TransformersSampler,
    reference: TransformersSampler,
    prompts: Sequence[Any],
    params: SamplingParams,
    *,
    seed: int,
    reference_prompts: Sequence[Any] | None = None,
    batch_size: int = 64,
) -> list[float]:
    """Return log π(y | x) − log π_ref(y | x) in nats for one sampled y of every prompt; its mean estimates the KL.

    Both are taken at the sampling temperature, and each model is asked in its own way: with its chat template, and what
    its folder says is to stand around a prompt.

    Args:
        sampler: of π.
        reference: of π_ref, with the same vocabulary.
        prompts: x.
        params: how y is drawn.
        seed: of y.
        reference_prompts: x as the reference takes them; the same by default.
        batch_size: completions at a time.
    """
    others = prompts if reference_prompts is None else reference_prompts
    values: list[float] = []
    for start in range(0, len(prompts), batch_size):
        rows = range(start, min(start + batch_size, len(prompts)))
        generation = sampler.generate([prompts[i] for i in rows], 1, params, sample_seeds(seed, rows, 1))
        asked = reference.encoded([others[i] for i in rows], params.max_new_tokens)
        tokens = Tokens(*asked, generation.completion_ids, generation.completion_mask)
        ours = _logprobs(sampler.model, generation.tokens, params)
        theirs = _logprobs(reference.model, tokens, params)
        values += ((ours - theirs) * generation.completion_mask).sum(-1).tolist()
    return values


def _logprobs(model: PreTrainedModel, tokens: Tokens, params: SamplingParams) -> torch.Tensor:
    logits = completion_logits(model, tokens)[0]
    return logprobs_and_entropy(logits, tokens.completion_ids, temperature=params.temperature)[0]
