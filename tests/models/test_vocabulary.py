"""Models that are to read the policy's token ids."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from genrlhf.errors import ConfigError
from genrlhf.models.vocabulary import check_same_vocabulary
from tests.helpers import VOCAB_SIZE, tiny_llama, tiny_reward_model, tiny_tokenizer


def renamed(**changed: str) -> PreTrainedTokenizerFast:
    """The tokenizer with other names for some of its tokens."""
    tokenizer = tiny_tokenizer()
    names = tokenizer.get_vocab()

    class Renamed(PreTrainedTokenizerFast):
        def get_vocab(self) -> dict[str, int]:
            return {changed.get(name, name): index for name, index in names.items()}

    tokenizer.__class__ = Renamed
    return tokenizer


@pytest.mark.parametrize("rows", [VOCAB_SIZE, VOCAB_SIZE + 6])
def test_the_same_vocabulary_with_any_number_of_spare_rows(rows: int) -> None:
    for own in (tiny_tokenizer(), None):
        check_same_vocabulary("value_model", tiny_reward_model(vocab_size=rows), own, tiny_tokenizer())


def test_pad_tokens_and_further_tokens_may_differ() -> None:
    more = tiny_tokenizer()
    more.add_tokens(["<more>"])
    check_same_vocabulary("value_model", tiny_reward_model(), more, tiny_tokenizer())
    check_same_vocabulary("value_model", tiny_reward_model(), renamed(**{"<pad>": "<filler>"}), tiny_tokenizer())


@pytest.mark.parametrize("own", [tiny_tokenizer(), None])
@pytest.mark.parametrize("build", [tiny_llama, tiny_reward_model])
def test_too_few_embeddings(own: Any, build: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"ref_model \(Llama\w+\) has embeddings for 250 tokens, but the policy's tokenizer .*has 258"
    ):
        check_same_vocabulary("ref_model", build(vocab_size=250), own, tiny_tokenizer())


def test_the_policy_has_a_token_more() -> None:
    policy = tiny_tokenizer()
    policy.add_tokens(["<more>"])
    model = tiny_reward_model(vocab_size=VOCAB_SIZE + 1)
    with pytest.raises(ConfigError, match=r"'<more>' is token 258 of the policy, and not a token there"):
        check_same_vocabulary("value_model", model, tiny_tokenizer(), policy)


def test_as_many_other_tokens() -> None:
    with pytest.raises(
        ConfigError, match=r"of 258 tokens, than the policy's tokenizer .*, of 258: 'a' is token \d+ of the policy, and"
    ):
        check_same_vocabulary("value_model", tiny_reward_model(), renamed(a="b", b="a"), tiny_tokenizer())
