"""Stop strings end completions wherever the borders of tokens lie."""

from __future__ import annotations

import pytest

from genrlhf.sampling import TransformersSampler
from genrlhf.sampling.stops import StopStrings
from genrlhf.types import SamplingParams
from tests.helpers import EOS_ID, tiny_llama, tiny_tokenizer


def ids_of(text: str) -> list[int]:
    ids: list[int] = tiny_tokenizer()(text)["input_ids"]
    return ids


@pytest.mark.parametrize(
    ("text", "stops", "found", "cut"),
    [
        ("one END", ["END"], True, "one "),
        ("one END ", ["END"], False, "one END "),
        ("one EN", ["END"], False, "one EN"),
        ("END", ["END"], True, ""),
        ("a\n\nb\n\n", ["\n\n"], True, "a\n\nb"),
        ("ends ends", ["nds", "ends"], True, "ends "),
        # A token here is a byte: neither half a character nor one beside the stop string confuses the search.
        ("für »", ["»"], True, "für "),
        ("日本。", ["。", "x"], True, "日本"),
        ("日本。語", ["。"], False, "日本。語"),
    ],
)
def test_found_by_the_last_token_alone(text: str, stops: list[str], found: bool, cut: str) -> None:
    finder = StopStrings(tiny_tokenizer(), stops)
    assert finder.found(ids_of(text)) == found
    assert finder.cut(ids_of(text)) == cut
    assert finder.found(ids_of("…" * 100 + text)) == found


def test_special_tokens_between_do_not_hide_a_stop_string() -> None:
    finder = StopStrings(tiny_tokenizer(), ["ab"])
    a, b = ids_of("ab")
    assert finder.found([a, EOS_ID, b])


def test_samples_end_before_a_stop_string() -> None:
    sampler = TransformersSampler(tiny_llama(), tiny_tokenizer())
    free = SamplingParams(max_new_tokens=24)
    (whole,) = next(iter(sampler.stream(["q"], 1, free, 0)))[1]
    letters = [c for c in whole.text if c != "\ufffd"]
    stop = letters[len(letters) // 2]
    ((_, (sample,)),) = sampler.stream(["q"], 1, SamplingParams(max_new_tokens=24, stop=(stop,)), 0)
    assert sample.finish_reason == "stop"
    assert sample.text == whole.text[: whole.text.index(stop)]
    assert sample.num_tokens < whole.num_tokens
    held = SamplingParams(max_new_tokens=24, min_new_tokens=24, stop=(stop,))
    ((_, (late,)),) = sampler.stream(["q"], 1, held, 0)
    assert late.num_tokens == 24


def test_a_stop_string_that_never_comes_leaves_the_length_as_the_end() -> None:
    sampler = TransformersSampler(tiny_llama(), tiny_tokenizer())
    params = SamplingParams(max_new_tokens=5, min_new_tokens=5, stop=("never, never",))
    ((_, (sample,)),) = sampler.stream(["q"], 1, params, 0)
    assert (sample.finish_reason, sample.num_tokens) == ("length", 5)
