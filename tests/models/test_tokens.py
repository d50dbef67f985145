"""Every tokenizer gets a pad token that is not EOS, within the embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE, WordLevel
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from genrlhf.errors import ModelError
from genrlhf.models import ensure_pad_token
from tests.helpers import EOS, EOS_ID, PAD, PAD_ID, VOCAB_SIZE, tiny_llama, tiny_tokenizer


def word_tokenizer(tokens: list[str], **special: str) -> PreTrainedTokenizerFast:
    """Return a word-level tokenizer of `tokens`, of which "<eos>" ends a text and `special` have their roles."""
    vocabulary = {token: number for number, token in enumerate(tokens)}
    backend = Tokenizer(WordLevel(vocabulary, unk_token=special.get("unk_token")))
    backend.add_special_tokens([AddedToken(t, special=True) for t in tokens if t.startswith("<") and t != "<0xFF>"])
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", **special)


def model_for(rows: int) -> Any:
    return tiny_llama(vocab_size=rows, pad_token_id=None, hidden_size=4, intermediate_size=4, num_hidden_layers=1)


def check(tokenizer: PreTrainedTokenizerFast, token: str, index: int, model: Any) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    ensure_pad_token(tokenizer, model)
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == (token, index)
    assert model.config.pad_token_id == model.generation_config.pad_token_id == index
    assert index != tokenizer.eos_token_id
    assert index < rows == model.get_input_embeddings().weight.shape[0]


def test_a_good_pad_token_stays() -> None:
    check(tiny_tokenizer(), PAD, PAD_ID, model_for(VOCAB_SIZE))
    check(word_tokenizer(["a", "<eos>", "<odd>", "<pad>"], pad_token="<odd>"), "<odd>", 2, model_for(10))


def test_pad_that_is_eos_is_replaced_by_a_spare_token() -> None:
    check(tiny_tokenizer(pad_token=EOS), PAD, PAD_ID, model_for(VOCAB_SIZE))


def test_missing_pad_is_replaced_by_a_spare_token() -> None:
    check(tiny_tokenizer(pad_token=None), PAD, PAD_ID, model_for(VOCAB_SIZE))
    check(word_tokenizer(["a", "<eos>", "<reserved_1>", "<reserved_2>"]), "<reserved_1>", 2, model_for(9))
    check(word_tokenizer(["a", "<eos>", "<s>", "<UNUSED>"], bos_token="<s>"), "<UNUSED>", 3, model_for(9))


def test_pad_that_is_bos_is_replaced() -> None:
    check(
        word_tokenizer(["a", "<eos>", "<s>", "<extra>"], bos_token="<s>", pad_token="<s>"), "<extra>", 3, model_for(9)
    )


def test_eos_and_bos_are_not_spare_whatever_their_names() -> None:
    tokens = ["a", "<reserved_bos>", "<eos>", "<reserved>"]
    check(word_tokenizer(tokens, bos_token="<reserved_bos>"), "<reserved>", 3, model_for(9))


def test_ordinary_words_are_not_taken_for_spare() -> None:
    tokenizer = word_tokenizer(["notepad", "<eos>", "unused"])
    check(tokenizer, "<|genrlhf_pad|>", 3, model_for(4))
    assert tokenizer("notepad unused")["input_ids"] == [0, 2]


def test_new_token_where_the_embeddings_have_a_row_to_spare() -> None:
    check(word_tokenizer(["a", "b", "<eos>"]), "<|genrlhf_pad|>", 3, model_for(4))


def test_pad_out_of_range_is_replaced() -> None:
    tokens = ["a", "<eos>", "<unk>", "b", "<pad>"]
    check(word_tokenizer(tokens, pad_token="<pad>", unk_token="<unk>"), "<unk>", 2, model_for(4))


def test_unknown_token_where_nothing_else_is_free() -> None:
    check(word_tokenizer(["a", "<eos>", "<unk>"], unk_token="<unk>"), "<unk>", 2, model_for(3))


def test_byte_that_no_text_has_where_there_is_no_unknown_token() -> None:
    check(word_tokenizer(["a", "<eos>", "<0xFF>"]), "<0xFF>", 2, model_for(3))
    tokenizer = word_tokenizer(["a", "<eos>", "<unk>", "<0xFF>"], unk_token="<unk>", bos_token="<unk>")
    check(tokenizer, "<0xFF>", 3, model_for(4))


def test_no_text_becomes_the_byte_taken_for_padding(tmp_path: Path) -> None:
    """As with GPT-2, whose vocabulary has bytes and "<|endoftext|>" only; 0xFF is written "ÿ", itself a letter."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(BPE({token: number for number, token in enumerate([EOS, *letters])}, merges=[]))
    backend.add_special_tokens([AddedToken(EOS, special=True)])
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=EOS)
    text = "L'Haÿ-les-Roses"
    before = tokenizer(text)["input_ids"]
    check(tokenizer, "ÿ", 1 + letters.index("ÿ"), model_for(257))
    assert tokenizer(text)["input_ids"] == before
    assert tokenizer.pad_token_id not in before
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.pad_token_id == tokenizer.pad_token_id
    assert again(text)["input_ids"] == before
    assert again.decode(before, skip_special_tokens=True) == text


def test_nothing_to_spare_is_an_error_with_the_remedy() -> None:
    with pytest.raises(ModelError, match=r"all 3 rows .* in use\. Add one with .*resize_token_embeddings"):
        ensure_pad_token(word_tokenizer(["a", "b", "<eos>"]), model_for(3))


def test_the_smallest_embeddings_decide() -> None:
    tokenizer = word_tokenizer(["a", "<eos>", "<unk>"], unk_token="<unk>")
    models = [model_for(8), model_for(3)]
    ensure_pad_token(tokenizer, *models)
    assert [m.config.pad_token_id for m in models] == [2, 2]


def test_without_a_model_the_vocabulary_is_the_range() -> None:
    tokenizer = tiny_tokenizer(pad_token=EOS)
    ensure_pad_token(tokenizer)
    assert tokenizer.pad_token_id == PAD_ID
    assert tokenizer.eos_token_id == EOS_ID


@pytest.mark.parametrize("wanted", [PAD, None])
def test_the_pad_token_that_is_asked_for(wanted: str | None) -> None:
    tokenizer = tiny_tokenizer(pad_token=None)
    ensure_pad_token(tokenizer, model_for(VOCAB_SIZE), wanted=wanted)
    assert tokenizer.pad_token == PAD
    with pytest.raises(ModelError, match=r"^The pad token '<odd>' is no token of the tokenizer"):
        ensure_pad_token(tokenizer, wanted="<odd>")


def test_a_pad_token_that_ends_texts_is_not_taken_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer, model = tiny_tokenizer(), model_for(VOCAB_SIZE)
    ensure_pad_token(tokenizer, model, wanted=EOS)
    assert tokenizer.pad_token_id == model.config.pad_token_id == PAD_ID
    assert f"The pad token '{EOS}' cannot be told from the end or start of a text; '{PAD}'" in caplog.text


def test_more_tokens_than_rows_are_refused_with_both_numbers() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>"]})
    with pytest.raises(ModelError, match=r"has 259 tokens, '<think>' among them, but the embeddings have 258 rows"):
        ensure_pad_token(tokenizer, model_for(VOCAB_SIZE))
    ensure_pad_token(tokenizer, model_for(VOCAB_SIZE + 1))


def test_the_token_of_an_image_needs_no_row() -> None:
    """As in Gemma 3's 1B model, which sees no images and has no row for them."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image_soft_token>"]})
    ensure_pad_token(tokenizer, model_for(VOCAB_SIZE))
