"""Sampling agrees with transformers, and a completion depends on its prompt and its seed alone."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from scipy.stats import chisquare

from genrlhf.sampling import TransformersSampler, generate, stop_token_ids
from genrlhf.sampling.choose import sample_seeds
from genrlhf.types import Generation, SamplingParams
from tests.helpers import EOS_ID, PAD_ID, VOCAB_SIZE, tiny_gpt2, tiny_llama, tiny_tokenizer
from tests.sampling.families import FAMILIES, PLAIN_FAMILIES

PROMPTS = [[40], [50, 60, 70, 80, 90, 100, 110], [33, 44, 55], [200] * 5]


@pytest.fixture(params=[*FAMILIES, *PLAIN_FAMILIES])
def model(request: pytest.FixtureRequest) -> Any:
    return {**FAMILIES, **PLAIN_FAMILIES}[request.param]()


def left_padded(prompts: list[list[int]], extra: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, prompts)) + extra
    ids = torch.tensor([[PAD_ID] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[False] * (width - len(p)) + [True] * len(p) for p in prompts])
    return ids, mask


def draw(
    model: Any, prompts: list[list[int]], params: SamplingParams, *, seeds: list[int], n: int = 1, extra: int = 0
) -> Generation:
    ids, mask = left_padded(prompts, extra)
    return generate(model, ids, mask, params, n=n, seeds=seeds, eos_token_ids=[EOS_ID], pad_token_id=PAD_ID)


def completions(generation: Generation) -> list[list[int]]:
    lengths = generation.completion_mask.sum(-1).tolist()
    return [row[:length] for row, length in zip(generation.completion_ids.tolist(), lengths, strict=True)]


def raise_eos(model: Any, by: float) -> None:
    """Make EOS likely, at every step, by a bias on its logit."""
    bias = torch.zeros(VOCAB_SIZE)
    bias[EOS_ID] = by
    model.get_output_embeddings().register_forward_hook(lambda _module, _inputs, output: output + bias)


def test_a_batch_gives_what_each_prompt_gives_alone(model: Any) -> None:
    raise_eos(model, 3.0)
    params = SamplingParams(max_new_tokens=12)
    seeds = [11, 12, 13, 14]
    together = completions(draw(model, PROMPTS, params, seeds=seeds))
    wider = completions(draw(model, PROMPTS, params, seeds=seeds, extra=5))
    alone = [completions(draw(model, [p], params, seeds=[s]))[0] for p, s in zip(PROMPTS, seeds, strict=True)]
    assert together == alone
    assert wider == alone
    assert len({len(c) for c in alone}) > 1


def test_n_samples_are_those_that_single_samples_with_the_same_seeds_are(model: Any) -> None:
    raise_eos(model, 3.0)
    params = SamplingParams(max_new_tokens=12)
    seeds = list(range(20, 32))
    shared = draw(model, PROMPTS, params, n=3, seeds=seeds)
    single = draw(model, [p for p in PROMPTS for _ in range(3)], params, seeds=seeds)
    for field in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "ended"):
        assert torch.equal(getattr(shared, field), getattr(single, field)), field
    assert len({tuple(c) for c in completions(shared)}) > 6


@pytest.mark.parametrize("min_new_tokens", [0, 4])
def test_greedy_is_that_of_transformers(model: Any, min_new_tokens: int) -> None:
    raise_eos(model, 4.5)
    ids, mask = left_padded(PROMPTS)
    params = SamplingParams(max_new_tokens=10, min_new_tokens=min_new_tokens, temperature=0)
    ours = generate(model, ids, mask, params, seeds=[], eos_token_ids=[EOS_ID], pad_token_id=PAD_ID)
    theirs = model.generate(
        input_ids=ids,
        attention_mask=mask.long(),
        do_sample=False,
        max_new_tokens=10,
        min_new_tokens=min_new_tokens or None,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
    )[:, ids.shape[1] :]
    assert ours.completion_ids.tolist() == theirs.tolist()


def test_masks_count_everything_up_to_the_first_eos(model: Any) -> None:
    raise_eos(model, 4.0)
    prompts = PROMPTS * 8
    generation = draw(model, prompts, SamplingParams(max_new_tokens=8), seeds=list(range(32)))
    assert generation.prompt_ids.dtype == generation.completion_ids.dtype == torch.int64
    assert generation.prompt_mask.dtype == generation.completion_mask.dtype == generation.ended.dtype == torch.bool
    ended = generation.ended.tolist()
    assert 0 < sum(ended) < len(ended)
    for ids, mask, end in zip(generation.completion_ids, generation.completion_mask, ended, strict=True):
        length = int(mask.sum())
        assert mask.tolist() == [t < length for t in range(len(mask))]
        assert (ids[length - 1] == EOS_ID) == end
        assert EOS_ID not in ids[: length - 1]
        assert length == 8 or end
        assert ids[length:].eq(PAD_ID).all()


def test_width_is_that_of_the_longest_completion() -> None:
    model = tiny_llama()
    raise_eos(model, 100.0)
    generation = draw(model, PROMPTS, SamplingParams(max_new_tokens=8), seeds=[1, 2, 3, 4])
    assert generation.completion_ids.tolist() == [[EOS_ID]] * 4
    assert generation.completion_mask.tolist() == [[True]] * 4
    assert generation.ended.all()


def test_min_new_tokens_holds_back_eos_until_then() -> None:
    model = tiny_llama()
    raise_eos(model, 100.0)
    params = SamplingParams(max_new_tokens=8, min_new_tokens=3)
    for row in completions(draw(model, PROMPTS, params, seeds=[1, 2, 3, 4])):
        assert len(row) == 4
        assert row.index(EOS_ID) == 3
    never = SamplingParams(max_new_tokens=4, min_new_tokens=4)
    generation = draw(model, PROMPTS, never, seeds=[1, 2, 3, 4])
    assert generation.completion_mask.all()
    assert not generation.ended.any()


def test_any_of_several_stop_tokens_ends_a_completion() -> None:
    model = tiny_llama()
    ids, mask = left_padded([[40]] * 64)
    generation = generate(
        model,
        ids,
        mask,
        SamplingParams(max_new_tokens=8),
        seeds=list(range(64)),
        eos_token_ids=[EOS_ID, *range(100, 140)],
        pad_token_id=PAD_ID,
    )
    last = {row[-1] for row, end in zip(completions(generation), generation.ended.tolist(), strict=True) if end}
    assert last
    assert all(token in range(100, 140) or token == EOS_ID for token in last)
    assert len(last) > 5


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_first_tokens_follow_the_models_distribution(temperature: float) -> None:
    model = tiny_llama(vocab_size=12, seed=4)
    number = 4000
    ids = torch.tensor([[5, 7, 3]])
    generation = generate(
        model,
        ids,
        torch.ones_like(ids).bool(),
        SamplingParams(max_new_tokens=1, temperature=temperature),
        n=number,
        seeds=sample_seeds(0, [0], number),
        eos_token_ids=[EOS_ID],
        pad_token_id=PAD_ID,
    )
    with torch.no_grad():
        probabilities = (model(ids).logits[0, -1].double() / temperature).softmax(-1)
    counts = Counter(generation.completion_ids[:, 0].tolist())
    common = [k for k in range(12) if probabilities[k] * number >= 5]
    rare = [k for k in range(12) if k not in common]
    observed = [counts[k] for k in common] + [sum(counts[k] for k in rare)] * bool(rare)
    expected = [number * probabilities[k].item() for k in common]
    expected += [number - sum(expected)] * bool(rare)
    assert len(common) >= 4
    assert chisquare(observed, expected).pvalue > 0.01


def test_repetition_penalty_counts_prompt_and_completion(model: Any) -> None:
    ids, mask = left_padded(PROMPTS)
    params = SamplingParams(max_new_tokens=10, min_new_tokens=10, temperature=0, repetition_penalty=1.5)
    ours = generate(model, ids, mask, params, seeds=[], eos_token_ids=[EOS_ID], pad_token_id=PAD_ID)
    alone = [
        model.generate(
            input_ids=torch.tensor([prompt]),
            do_sample=False,
            max_new_tokens=10,
            min_new_tokens=10,
            repetition_penalty=1.5,
            pad_token_id=PAD_ID,
            eos_token_id=EOS_ID,
        )[0, len(prompt) :].tolist()
        for prompt in PROMPTS
    ]
    assert completions(ours) == alone


def test_a_models_own_sampling_settings_are_not_used() -> None:
    for build in (FAMILIES["llama"], PLAIN_FAMILIES["bloom"]):
        model, seeds = build(), [1, 2, 3, 4]
        before = completions(draw(model, PROMPTS, SamplingParams(max_new_tokens=8), seeds=seeds))
        own = model.generation_config
        own.update(temperature=0.1, top_k=1, do_sample=True, repetition_penalty=3.0, num_beams=2)
        assert completions(draw(model, PROMPTS, SamplingParams(max_new_tokens=8), seeds=seeds)) == before
        assert model.generation_config is own


def test_top_k_one_is_greedy() -> None:
    model = tiny_gpt2()
    greedy = draw(model, PROMPTS, SamplingParams(max_new_tokens=6, temperature=0), seeds=[])
    one = draw(model, PROMPTS, SamplingParams(max_new_tokens=6, top_k=1), seeds=[5, 6, 7, 8])
    assert completions(greedy) == completions(one)
    nucleus = draw(model, PROMPTS, SamplingParams(max_new_tokens=6, top_p=1e-6), seeds=[5, 6, 7, 8])
    assert completions(greedy) == completions(nucleus)


def test_stop_tokens_are_those_of_tokenizer_and_generation_config() -> None:
    model, tokenizer = tiny_llama(), tiny_tokenizer()
    for declared, expected in (
        (None, [EOS_ID]),
        (EOS_ID, [EOS_ID]),
        (9, [EOS_ID, 9]),
        ([9, EOS_ID, 4], [EOS_ID, 4, 9]),
    ):
        model.generation_config.eos_token_id = declared
        assert stop_token_ids(model, tokenizer) == expected


def test_no_gradient_and_no_parameter_changes() -> None:
    model = tiny_llama().train()
    before = {name: p.clone() for name, p in model.named_parameters()}
    sampler = TransformersSampler(model, tiny_tokenizer())
    sampler.sample(["a", "bc"], 2, SamplingParams(max_new_tokens=4), seed=0)
    assert model.training
    assert all(torch.equal(before[name], p) and p.grad is None for name, p in model.named_parameters())
