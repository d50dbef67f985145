"""The sampler on text: prompts in, completions out."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from genrlhf.errors import ConfigError, DataError, ModelError
from genrlhf.sampling import TransformersSampler, decode_completions, encode_prompts, generate
from genrlhf.sampling.decode import check_prompt_lengths, prompt_token_ids
from genrlhf.types import Generation, Sampler, SamplingParams
from tests.helpers import EOS_ID, PAD_ID, tiny_gpt2, tiny_llama, tiny_opt, tiny_tokenizer

PROMPTS = ["a", "a longer prompt", "xy", "middle one", "b"]
PARAMS = SamplingParams(max_new_tokens=6)
CHAT = [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize("build", [tiny_llama, tiny_gpt2, tiny_opt])
def test_batch_size_changes_nothing(build: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    model = build()
    answers = [
        TransformersSampler(model, tokenizer, batch_size=size).sample(PROMPTS, 3, PARAMS, seed=5)
        for size in (1, 4, 6, 100)
    ]
    assert all(answer == answers[0] for answer in answers)
    assert [len(texts) for texts in answers[0]] == [3] * 5
    assert len({text for texts in answers[0] for text in texts}) > 10


def test_seed_decides(tokenizer: PreTrainedTokenizerFast) -> None:
    sampler = TransformersSampler(tiny_llama(), tokenizer)
    assert isinstance(sampler, Sampler)
    first = sampler.sample(PROMPTS, 2, PARAMS, seed=5)
    torch.manual_seed(123)
    assert sampler.sample(PROMPTS, 2, PARAMS, seed=5) == first
    assert sampler.sample(PROMPTS, 2, PARAMS, seed=6) != first


def test_equal_prompts_get_different_completions(tokenizer: PreTrainedTokenizerFast) -> None:
    texts = TransformersSampler(tiny_llama(), tokenizer).sample(["same"] * 4, 2, PARAMS, seed=0)
    assert len({text for pair in texts for text in pair}) == 8


def test_stream_yields_every_prompt_once(tokenizer: PreTrainedTokenizerFast) -> None:
    sampler = TransformersSampler(tiny_llama(), tokenizer, batch_size=4)
    found = dict(sampler.stream(PROMPTS, 2, PARAMS, seed=1))
    assert sorted(found) == list(range(5))
    assert [[s.text for s in found[i]] for i in range(5)] == sampler.sample(PROMPTS, 2, PARAMS, seed=1)
    assert all(s.finish_reason == ("stop" if s.num_tokens < 6 else "length") for s in found[0])
    assert sampler.sample([], 2, PARAMS, seed=1) == []


def test_rows_seed_the_samples(tokenizer: PreTrainedTokenizerFast) -> None:
    sampler = TransformersSampler(tiny_llama(), tokenizer)
    whole = sampler.sample(PROMPTS, 2, PARAMS, seed=1)
    some = dict(sampler.stream([PROMPTS[3], PROMPTS[1]], 2, PARAMS, seed=1, rows=[3, 1]))
    assert [[s.text for s in some[i]] for i in range(2)] == [whole[3], whole[1]]


def test_sampling_takes_no_part_in_dropout(tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny_gpt2(resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5)
    sampler = TransformersSampler(model, tokenizer)
    expected = sampler.sample(PROMPTS, 1, PARAMS, seed=0)
    model.train()
    assert sampler.sample(PROMPTS, 1, PARAMS, seed=0) == expected
    assert model.training


def test_batch_size_and_n_are_checked(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ConfigError, match="batch_size must be at least 1, not 0"):
        TransformersSampler(tiny_llama(), tokenizer, batch_size=0)
    with pytest.raises(ConfigError, match="n, the samples of a prompt, must be at least 1, not 0"):
        TransformersSampler(tiny_llama(), tokenizer).sample(PROMPTS, 0, PARAMS, seed=0)


def test_prompts_are_padded_on_the_left(tokenizer: PreTrainedTokenizerFast) -> None:
    ids, mask = encode_prompts(tokenizer, ["ab", "c"])
    letters = tokenizer.get_vocab()
    assert ids.tolist() == [[letters["a"], letters["b"]], [PAD_ID, letters["c"]]]
    assert mask.tolist() == [[True, True], [False, True]]
    assert (ids.dtype, mask.dtype) == (torch.int64, torch.bool)


def test_too_long_prompt_names_row_and_numbers(tokenizer: PreTrainedTokenizerFast) -> None:
    sampler = TransformersSampler(tiny_llama(), tokenizer)
    fits = "x" * (64 - 6)
    assert len(sampler.sample([fits], 1, PARAMS, seed=0)) == 1
    with pytest.raises(DataError, match=r"row 1: the prompt 'x+.* has 59 tokens, and at most 58 leave room"):
        sampler.sample(["ok", "x" * 59], 1, PARAMS, seed=0)


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_rows_are_counted_over_all_batches(batch_size: int, tokenizer: PreTrainedTokenizerFast) -> None:
    sampler = TransformersSampler(tiny_llama(), tokenizer, batch_size=batch_size)
    with pytest.raises(DataError, match="row 3: "):
        sampler.sample(["a", "b", "c", "", "e"], 1, PARAMS, seed=0)


def test_empty_prompt_names_the_row(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(DataError, match=r"^prompts, row 2: the prompt '' has no tokens; give at least one"):
        encode_prompts(tokenizer, ["a", "b", ""])
    with pytest.raises(DataError, match=r"^train\.jsonl, row 11: "):
        check_prompt_lengths(tokenizer, ["a", ""], max_length=None, source="train.jsonl", first_row=10)


def test_lengths_are_returned_as_ids(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = check_prompt_lengths(tokenizer, ["ab", "c"], max_length=2)
    assert [tokenizer.decode(ids) for ids in rows] == ["ab", "c"]


def test_conversations_go_through_the_chat_template(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    ids = prompt_token_ids(chat_tokenizer, CHAT)
    assert chat_tokenizer.decode(ids) == "[user]hello\n[assistant]"
    longer = [*CHAT, {"role": "assistant", "content": "hi"}, {"role": "user", "content": "bye"}]
    ids = prompt_token_ids(chat_tokenizer, longer)
    assert chat_tokenizer.decode(ids) == "[user]hello\n[assistant]hi<eos>\n[user]bye\n[assistant]"
    assert ids.count(EOS_ID) == 1
    sampler = TransformersSampler(tiny_llama(), chat_tokenizer)
    as_text = sampler.sample(["[user]hello\n[assistant]"], 2, PARAMS, seed=3)
    assert sampler.sample([CHAT], 2, PARAMS, seed=3) == as_text


def test_completions_decode_to_what_was_encoded() -> None:
    tokenizer = tiny_tokenizer()
    texts = ["plain", " blank before, «é» and\nnewline ", ""]
    rows = [tokenizer(text)["input_ids"] + [EOS_ID] * (i < 2) for i, text in enumerate(texts)]
    width = max(map(len, rows)) + 2
    filler = tokenizer.get_vocab()["z"]  # what stands behind the end is not read, whatever it is
    generation = Generation(
        prompt_ids=torch.zeros(3, 1, dtype=torch.long),
        prompt_mask=torch.ones(3, 1, dtype=torch.bool),
        completion_ids=torch.tensor([ids + [filler] * (width - len(ids)) for ids in rows]),
        completion_mask=torch.tensor([[t < len(ids) for t in range(width)] for ids in rows]),
        ended=torch.tensor([True, True, False]),
    )
    assert decode_completions(tokenizer, generation) == texts


def out_of_memory_above(sequences: int, error: type[RuntimeError], message: str) -> Any:
    """Return a stand-in for `generate` that only has memory for so many sequences, and its calls."""
    calls: list[int] = []

    def run(model: Any, prompt_ids: torch.Tensor, *args: Any, n: int, **options: Any) -> Any:
        calls.append(len(prompt_ids) * n)
        if calls[-1] > sequences:
            raise error(message)
        return generate(model, prompt_ids, *args, n=n, **options)

    return run, calls


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError, "CUDA out of memory."),
        (RuntimeError, "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
@pytest.mark.parametrize("fits", [1, 2, 5])
def test_a_batch_that_does_not_fit_is_halved_and_so_are_later_ones(
    fits: int, error: type[RuntimeError], message: str
) -> None:
    model, tokenizer = tiny_llama(), tiny_tokenizer()
    prompts, params = [f"prompt {k}" for k in range(8)], SamplingParams(max_new_tokens=4)
    expected = TransformersSampler(model, tokenizer).sample(prompts, 3, params, 0)
    run, calls = out_of_memory_above(fits, error, message)
    with patch("genrlhf.sampling.transformers_sampler.generate", run):
        sampler = TransformersSampler(model, tokenizer, batch_size=12)
        assert sampler.sample(prompts, 3, params, 0) == expected
    # Two batches of 12: the first is halved until it fits, and nothing of the second is tried that is too large.
    assert calls[0] == 12
    assert sum(size > fits for size in calls) == {1: 3, 2: 3, 5: 2}[fits]


def test_one_sequence_that_does_not_fit_is_an_error_and_other_errors_pass() -> None:
    model, tokenizer = tiny_llama(), tiny_tokenizer()
    run, _ = out_of_memory_above(0, torch.OutOfMemoryError, "CUDA out of memory.")
    with (
        patch("genrlhf.sampling.transformers_sampler.generate", run),
        pytest.raises(ModelError, match="One completion of a prompt of 2 tokens does not fit into memory; lower"),
    ):
        TransformersSampler(model, tokenizer).sample(["ab"], 2, SamplingParams(max_new_tokens=4), 0)
    run, _ = out_of_memory_above(0, RuntimeError, "something else")
    with (
        patch("genrlhf.sampling.transformers_sampler.generate", run),
        pytest.raises(RuntimeError, match="something else"),
    ):
        TransformersSampler(model, tokenizer).sample(["ab"], 2, SamplingParams(max_new_tokens=4), 0)


def test_done_places_come_only_with_their_batch() -> None:
    sampler = TransformersSampler(tiny_llama(), tiny_tokenizer(), batch_size=4)
    prompts, params = ["a", "bb", "ccc", "dddd"], SamplingParams(max_new_tokens=4)
    whole = dict(sampler.stream(prompts, 2, params, 0))
    # Batches are of prompts 3 and 2, and of 1 and 0.
    assert dict(sampler.stream(prompts, 2, params, 0, done={2, 3})) == {place: whole[place] for place in (0, 1)}
    assert dict(sampler.stream(prompts, 2, params, 0, done={1, 2, 3})) == {place: whole[place] for place in (0, 1)}
    assert not list(sampler.stream(prompts, 2, params, 0, done=range(4)))
