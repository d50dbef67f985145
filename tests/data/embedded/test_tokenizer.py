"""The tokenizer restores text, splits prompt from completion, and knows every word of the task."""

from __future__ import annotations

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from genrlhf.data import Task, load_task
from genrlhf.data.embedded import MODEL_FOLDER
from genrlhf.data.embedded.tokenizer import EOS, PAD, build_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer()


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("embedded", n_demonstrations=200, n_preferences=1, n_prompts=1, n_validation=1, n_evaluation=100)


def test_a_noun_with_its_determiner_is_one_token(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.tokenize(" my cat clawed the couch, and the cat") == [
        " my cat",
        " clawed",
        " the couch",
        ",",
        " and",
        " the",
        " cat",
    ]
    assert tokenizer.tokenize(" my cats") == [" my", tokenizer.unk_token]


def test_text_comes_back_and_the_prompt_is_a_prefix(tokenizer: PreTrainedTokenizerFast, task: Task) -> None:
    rows = [(row["prompt"], row["completion"]) for row in task.demonstrations]
    rows += [(row["prompt"], row["reference"]) for name in task.evaluation for row in task.evaluation[name]]
    for prompt, completion in rows:
        ids = tokenizer(prompt + completion)["input_ids"]
        assert tokenizer.decode(ids) == prompt + completion
        assert tokenizer.unk_token_id not in ids
        assert ids == tokenizer(prompt)["input_ids"] + tokenizer(completion)["input_ids"]


def test_special_tokens_are_distinct(tokenizer: PreTrainedTokenizerFast) -> None:
    assert (tokenizer.pad_token, tokenizer.eos_token, tokenizer.bos_token) == (PAD, EOS, None)
    assert len({tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}) == 3


def test_the_shipped_tokenizer_splits_as_the_one_that_is_built(tokenizer: PreTrainedTokenizerFast, task: Task) -> None:
    shipped = AutoTokenizer.from_pretrained(MODEL_FOLDER)
    assert tokenizer.get_vocab() == shipped.get_vocab()
    for row in task.demonstrations:
        text = row["prompt"] + row["completion"]
        assert shipped.tokenize(text) == tokenizer.tokenize(text)
