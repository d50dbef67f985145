"""Batches keep to their limits, and what came of them is put together as if there had been one."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genrlhf.sampling.batches import Batch, join_generations, plan_batches
from genrlhf.sampling.choose import sample_seeds
from genrlhf.sampling.transformers_sampler import TransformersSampler
from genrlhf.types import SamplingParams
from tests.helpers import tiny_llama, tiny_tokenizer


@given(
    lengths=st.lists(st.integers(1, 60), max_size=30),
    n=st.integers(1, 9),
    new=st.integers(1, 20),
    sequences=st.integers(1, 12),
    tokens=st.integers(1, 400),
    shared=st.booleans(),
)
def test_every_sample_is_drawn_once_and_limits_are_kept(
    lengths: list[int], n: int, new: int, sequences: int, tokens: int, shared: bool
) -> None:
    batches = plan_batches(lengths, n, new, max_sequences=sequences, max_tokens=tokens, shared=shared)
    drawn = Counter((place, k) for batch in batches for place in batch.places for k in range(batch.first, batch.last))
    assert drawn == Counter((place, k) for place in range(len(lengths)) for k in range(n))
    for batch in batches:
        assert batch.width == max(lengths[place] for place in batch.places)
        assert batch.sequences <= sequences
        stored = len(batch.places) if shared else batch.sequences
        assert batch.tokens(new) == stored * batch.width + batch.sequences * new
        assert batch.sequences == 1 or batch.tokens(new) <= tokens
    widths = [batch.width for batch in batches]
    assert widths == sorted(widths, reverse=True)


def test_prompts_of_like_length_go_together() -> None:
    batches = plan_batches([5, 50, 6, 49], 2, 10, max_sequences=4, max_tokens=1000)
    assert batches == [Batch((1, 3), 0, 2, 50), Batch((2, 0), 0, 2, 6)]
    # One prompt of 50 with its two responses of 10 has 70 tokens, a second one would make it 140.
    batches = plan_batches([5, 50, 6, 49], 2, 10, max_sequences=8, max_tokens=130)
    assert [batch.places for batch in batches] == [(1,), (3,), (2, 0)]
    # The samples of one prompt are split where they alone are too many.
    batches = plan_batches([5, 6], 5, 10, max_sequences=2, max_tokens=1000)
    assert [(batch.places, batch.first, batch.last) for batch in batches] == [
        (places, *part) for places in ((1,), (0,)) for part in ((0, 2), (2, 4), (4, 5))
    ]


def test_halves() -> None:
    assert Batch((3, 1, 2), 0, 4, 9).halves() == (Batch((3,), 0, 4, 9), Batch((1, 2), 0, 4, 9))
    assert Batch((3,), 1, 4, 9).halves() == (Batch((3,), 1, 2, 9), Batch((3,), 2, 4, 9))
    assert Batch((3,), 1, 2, 9).halves() is None


@pytest.mark.parametrize("limits", [{"batch_size": 1}, {"batch_size": 2}, {"batch_size": 7}, {"max_batch_tokens": 40}])
def test_joined_batches_are_what_one_batch_gives(limits: dict[str, int]) -> None:
    model, tokenizer = tiny_llama(), tiny_tokenizer()
    prompts, n = ["abcde", "x", "abc", "yz"], 3
    params = SamplingParams(max_new_tokens=6, logprobs=True)
    seeds = sample_seeds(0, range(4), n)
    whole = TransformersSampler(model, tokenizer).generate(prompts, n, params, seeds, boundary=1)
    parts = TransformersSampler(model, tokenizer, **limits).generate(prompts, n, params, seeds, boundary=1)
    assert whole.trunk is not None and parts.trunk is not None
    mask = whole.completion_mask
    for field in fields(whole):
        ours, theirs = getattr(parts, field.name), getattr(whole, field.name)
        if field.name == "last_hidden":
            ours, theirs = ours[mask], theirs[mask]
        if field.name != "trunk":
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(parts.trunk.completion[mask], whole.trunk.completion[mask], atol=1e-5, rtol=1e-5)
    counted = whole.prompt_mask[::n]
    torch.testing.assert_close(parts.trunk.prompt[counted], whole.trunk.prompt[counted], atol=1e-5, rtol=1e-5)


def test_join_leaves_out_what_a_part_lacks() -> None:
    model, tokenizer = tiny_llama(), tiny_tokenizer()
    params = SamplingParams(max_new_tokens=2)
    part = TransformersSampler(model, tokenizer).generate(["a"], 1, params, [1])
    joined = join_generations([Batch((0,), 0, 1, 1)], [part], 1, 0)
    assert joined.logprobs is None and joined.last_hidden is None and joined.trunk is None


def test_prompts_of_one_length_go_together_where_they_must() -> None:
    batches = plan_batches([3, 5, 3, 5, 3], 2, 4, max_sequences=4, max_tokens=1000, one_length=True)
    assert [(batch.places, batch.width) for batch in batches] == [((1, 3), 5), ((0, 2), 3), ((4,), 3)]


@given(
    lengths=st.lists(st.integers(1, 60), max_size=30),
    n=st.integers(1, 9),
    sequences=st.integers(1, 12),
    tokens=st.integers(1, 400),
    one_length=st.booleans(),
    shared=st.booleans(),
)
def test_some_of_the_batches_alone_are_the_same_batches(lengths: list[int], n: int, **options: int) -> None:
    limits = {
        "max_sequences": options["sequences"],
        "max_tokens": options["tokens"],
        "one_length": bool(options["one_length"]),
        "shared": bool(options["shared"]),
    }
    whole = plan_batches(lengths, n, 5, **limits)  # type: ignore[arg-type]
    together = list(dict.fromkeys(batch.places for batch in whole))[1::2]
    mine = sorted(place for places in together for place in places)
    again = plan_batches([lengths[place] for place in mine], n, 5, **limits)  # type: ignore[arg-type]
    named = [(tuple(mine[place] for place in batch.places), batch.first, batch.width) for batch in again]
    assert named == [(batch.places, batch.first, batch.width) for batch in whole if batch.places in together]
