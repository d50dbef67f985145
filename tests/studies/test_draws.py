"""Best-of-N of a draw, and the KL of sampled sequences."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from genrlhf.data.asking import Asking
from genrlhf.errors import DataError, RewardError
from genrlhf.methods import Darling
from genrlhf.sampling import TransformersSampler
from genrlhf.studies.draws import best_of_n_draw, policy_draw, sampler_of, sequence_kl
from genrlhf.types import SamplingParams
from tests.helpers import tiny_llama, tiny_tokenizer

PARAMS = SamplingParams(max_new_tokens=4)


def test_best_of_n_takes_the_highest_reward_of_each_group() -> None:
    pool = [
        {"outputs": ["b0", "b1", "b2"], "rewards": [0.0, -1.0, -0.5]},
        {"outputs": ["a0", "a1", "a2", "a3", "a4", "a5"], "rewards": [1.0, 3.0, 2.0, 9.0, 4.0, 9.0]},
    ]
    draw = best_of_n_draw(pool, n=3)
    assert draw(["q", "p"], [1, 0], 1) == [["a1"], ["b0"]]
    assert draw(["q"], [1], 2) == [["a1", "a3"]]


def test_a_row_draws_the_same_whatever_is_beside_it(causal_lm_folder: Path) -> None:
    draw = policy_draw(sampler_of(str(causal_lm_folder)), PARAMS, seed=3)
    together = draw(["one", "the second", "third"], [4, 5, 6], 2)
    assert draw(["the second"], [5], 2) == together[1:2]
    assert draw(["the second"], [6], 2) != together[1:2]


def test_kl_of_a_model_from_itself_is_zero() -> None:
    model = tiny_llama()
    sampler = TransformersSampler(model, tiny_tokenizer())
    values = sequence_kl(sampler, sampler, ["a", "bcd"], PARAMS, seed=0)
    assert values == pytest.approx([0.0, 0.0], abs=1e-6)


def test_mean_of_one_token_estimates_is_the_kl_of_the_distributions() -> None:
    ours, theirs = tiny_llama(seed=0), tiny_llama(seed=1)
    params = SamplingParams(max_new_tokens=1, temperature=2.0)
    samplers = [TransformersSampler(model, tiny_tokenizer()) for model in (ours, theirs)]
    values = torch.tensor(sequence_kl(*samplers, ["x"] * 4000, params, seed=0))
    ids = torch.tensor([tiny_tokenizer()("x")["input_ids"]])
    with torch.no_grad():
        p, q = ((model(ids).logits[0, -1].double() / 2.0).log_softmax(-1) for model in (ours, theirs))
    exact = float((p.exp() * (p - q)).sum())
    assert float(values.mean()) == pytest.approx(exact, abs=4 * float(values.std()) / 4000**0.5)
    assert exact > 0.1


def test_kl_of_a_model_that_is_asked_otherwise_asks_each_in_its_own_way() -> None:
    """Behind the prompts that they are asked, the two have the same weights: so would a plain model behind these."""
    model, tokenizer = tiny_llama(), tiny_tokenizer()
    asked = TransformersSampler(model, tokenizer, asking=Asking(after=" well"))
    plain = TransformersSampler(model, tokenizer)
    values = sequence_kl(asked, plain, ["a", "bcd"], PARAMS, seed=0)
    expected = sequence_kl(plain, plain, ["a well", "bcd well"], PARAMS, seed=0, reference_prompts=["a", "bcd"])
    assert values == pytest.approx(expected) and max(map(abs, values)) > 1e-3
    assert sequence_kl(asked, asked, ["a", "bcd"], PARAMS, seed=0) == pytest.approx([0.0, 0.0], abs=1e-6)


def test_kl_from_a_model_whose_context_is_too_short_for_what_it_is_asked_names_the_prompt() -> None:
    sampler = TransformersSampler(tiny_llama(), tiny_tokenizer())
    short = TransformersSampler(tiny_llama(max_position_embeddings=8), tiny_tokenizer(), asking=Asking(after="abcdef"))
    with pytest.raises(DataError, match="row 0: the prompt 'bcdabcdef' has .* tokens, and at most 4 leave room"):
        sequence_kl(sampler, short, ["bcd"], PARAMS, seed=0)


def test_a_reward_of_groups_chooses_among_the_samples_of_an_output() -> None:
    pool = [{"prompt": "q", "outputs": ["a", "a", "b", "c", "c", "c", "d", "e"], "rewards": [1, 1, 1, 0, 1, 1, 0, 0]}]
    assert best_of_n_draw(pool, 4)(["q"], [0], 2) == [["a", "c"]]
    # Of a, a, b, c the right one that is alone; of c, c, d, e a right one, though it is not.
    assert best_of_n_draw(pool, 4, Darling())(["q"], [0], 2) == [["b", "c"]]
    with pytest.raises(RewardError, match="returned 3 values for 4 completions"):
        best_of_n_draw(pool, 4, lambda prompts, completions, rewards: rewards[:, 1:])(["q"], [0], 2)
