"""What our samplers and forward passes make of a decoder, beside plain transformers on each text alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel

from genrlhf.errors import ModelError
from genrlhf.models import ScalarHead, disable_dropout, freeze_layers
from genrlhf.models.completions import classifier_scores, completion_logits
from genrlhf.models.families import TRUNK_FAMILIES, family_of, shares_prefix, without_router_logits
from genrlhf.models.policy import PolicyWithValue
from genrlhf.models.scoring import score_batch
from genrlhf.models.trunk import Trunk, trunk_depth, trunk_states
from genrlhf.sampling import TransformersSampler
from genrlhf.sampling.habits import habits_of
from genrlhf.types import Generation, SamplingParams, Tokens
from tests.decoders.configs import build, build_classifier
from tests.helpers import EOS_ID, PAD_ID, tiny_tokenizer

__all__ = ["Row", "measure"]

PROMPTS = ["a", "hello w", "xyz"]
NEW = 5
SAMPLES = 2


@dataclass(frozen=True)
class Row:
    """One decoder.

    Attributes:
        decoder: its name in `DECODERS`.
        family: its model type.
        shares_prefix: whether the samples of a prompt share it.
        shares_trunk: whether frozen first layers can be computed once.
        reads_batches: whether its own `generate` does; None where it is not used.
        reads_left_padding: the same.
        greedy: how many completions at temperature 0 differ from those of plain `generate` on each prompt alone.
        logprobs: largest difference from those of a forward pass over each text alone, in nats.
        ratio: largest difference from 1 of the probability ratio in a training pass over what was just drawn.
        refused: what PPO says of the model instead; None where it takes it.
        trunk: largest difference of logits from the trunk; None without one.
        trunk_gradient: largest difference of the gradients, as a share of the largest one.
        score: largest difference of rewards from those of each text alone; None without a class for rewards.
        values: the same of scores at every token; None without a head that reads every token.
    """

    decoder: str
    family: str
    shares_prefix: bool
    shares_trunk: bool
    reads_batches: bool | None
    reads_left_padding: bool | None
    greedy: int
    logprobs: float
    ratio: float | None
    refused: str | None
    trunk: float | None
    trunk_gradient: float | None
    score: float | None
    values: float | None


def measure(name: str) -> Row:
    """Return what comes of the decoder called `name` of `DECODERS`."""
    model = build(name)
    disable_dropout(model)
    sampler = TransformersSampler(model, tiny_tokenizer())
    shared = shares_prefix(model)
    refused, drawn = None, None
    try:
        drawn = sampler.generate(
            PROMPTS,
            SAMPLES,
            SamplingParams(max_new_tokens=NEW, logprobs=True),
            list(range(SAMPLES * len(PROMPTS))),
        )
    except ModelError as error:
        refused = str(error)
    shares_trunk = family_of(model) in TRUNK_FAMILIES
    greedy, logprobs = _greedy(model, sampler), _logprobs(model)
    ratio = None if drawn is None else _ratio(model, drawn)
    trunk, trunk_gradient = _trunk(model) if shares_trunk else (None, None)
    score, values = _classifier(name)
    return Row(
        decoder=name,
        family=family_of(model),
        shares_prefix=shared,
        shares_trunk=shares_trunk,
        reads_batches=None if shared else habits_of(model).reads_batches,
        reads_left_padding=None if shared else habits_of(model).reads_left_padding,
        greedy=greedy,
        logprobs=logprobs,
        ratio=ratio,
        refused=refused,
        trunk=trunk,
        trunk_gradient=trunk_gradient,
        score=score,
        values=values,
    )


def _ids(text: str) -> torch.Tensor:
    return torch.tensor([tiny_tokenizer()(text)["input_ids"]])


def _greedy(model: PreTrainedModel, sampler: TransformersSampler) -> int:
    config = GenerationConfig(max_new_tokens=NEW, do_sample=False, pad_token_id=PAD_ID, eos_token_id=EOS_ID)
    params = SamplingParams(max_new_tokens=NEW, temperature=0)
    ours = sampler.sample(PROMPTS, SAMPLES, params, seed=0)
    differ = 0
    for prompt, samples in zip(PROMPTS, ours, strict=True):
        ids = _ids(prompt)
        alone: Any = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            generation_config=config,
            **without_router_logits(model),
        )
        text = sampler.tokenizer.decode(alone[0, ids.shape[1] :], skip_special_tokens=True)
        differ += sum(sample != text for sample in samples)
    return differ


COMPLETIONS = ["Abcd", "!", "qrs"]


def _batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    tokenizer = tiny_tokenizer()
    prompts = tokenizer(PROMPTS, padding=True, padding_side="left", return_tensors="pt")
    completions = tokenizer(COMPLETIONS, padding=True, padding_side="right", return_tensors="pt")
    return tuple(each for part in (prompts, completions) for each in (part["input_ids"], part["attention_mask"].bool()))


@torch.no_grad()
def _logprobs(model: PreTrainedModel) -> float:
    batch = _batch()
    ours = completion_logits(model, Tokens(*batch))[0].log_softmax(-1)
    worst = 0.0
    for row, (prompt, completion) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
        ids = _ids(prompt + completion)
        alone = model(input_ids=ids, use_cache=False, **without_router_logits(model)).logits[0].log_softmax(-1)
        wanted = alone[len(prompt) - 1 : -1]
        worst = max(worst, float((ours[row, : len(completion)] - wanted).abs().max()))
    return worst


def _ratio(model: PreTrainedModel, drawn: Generation) -> float:
    policy = PolicyWithValue(model, ScalarHead(model.get_output_embeddings().in_features), temperature=1.0).train()
    output = policy(drawn.prompt_ids, drawn.prompt_mask, drawn.completion_ids, drawn.completion_mask)
    model.eval()
    assert drawn.logprobs is not None
    ratio = (output.logprobs - drawn.logprobs)[drawn.completion_mask].exp()
    return float((ratio - 1).abs().max().detach())


def _trunk(model: PreTrainedModel) -> tuple[float, float]:
    freeze_layers(model, 0.5)
    depth = trunk_depth(model)
    assert depth > 0
    prompt_ids, prompt_mask, completion_ids, mask = batch = _batch()
    whole = torch.cat([prompt_ids, completion_ids], dim=1), torch.cat([prompt_mask, mask], dim=1)
    trunk = Trunk(depth, trunk_states(model, depth, *whole))
    trained = [p for p in model.parameters() if p.requires_grad]
    ours, wanted = (completion_logits(model, Tokens(*batch), trunk=given)[0][mask] for given in (trunk, None))
    gradients = [
        torch.autograd.grad(each.square().sum(), trained, allow_unused=True, retain_graph=True)
        for each in (ours, wanted)
    ]
    pairs = [(a, b) for a, b in zip(*gradients, strict=True) if a is not None and b is not None]
    assert all((a is None) == (b is None) for a, b in zip(*gradients, strict=True))
    apart = max(float((a - b).abs().max()) for a, b in pairs) / max(float(b.abs().max()) for _, b in pairs)
    return float((ours - wanted).abs().max().detach()), apart


@torch.no_grad()
def _classifier(name: str) -> tuple[float | None, float | None]:
    model: Any = build_classifier(name)
    if model is None:
        return None, None

    def alone(text: str) -> torch.Tensor:
        ids = _ids(text)
        score: torch.Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, 0]
        return score

    texts = [prompt + completion for prompt, completion in zip(PROMPTS, COMPLETIONS, strict=True)]
    batch = tiny_tokenizer()(texts, padding=True, padding_side="right", return_tensors="pt")
    ours = score_batch(model, batch["input_ids"], batch["attention_mask"].bool())
    apart = float((ours - torch.stack([alone(text) for text in texts])).abs().max())
    if not hasattr(model, "score"):
        return apart, None
    values = classifier_scores(model, Tokens(*_batch()))
    differences = [
        abs(float(values[row, end] - alone(prompt + completion[:end])))
        for row, (prompt, completion) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True))
        for end in (0, len(completion))
    ]
    return apart, max(differences)
