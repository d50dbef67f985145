"""Words and sentences."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.tokenize import NLTKWordTokenizer

from genrlhf.metrics.diversity.tokenize import sentences, words


@pytest.mark.parametrize(
    "sentence",
    [
        "The cat sat on the mat.",
        "They'll say it isn't (very) hard, won't they?",
        '"Stop!" he cried -- and left; nobody followed.',
        "It costs $3.50 a piece & more",
        "Über die Brücke: ja!",
        "",
    ],
)
def test_one_sentence_is_split_as_nltk_splits_it_whole(sentence: str) -> None:
    assert words(sentence) == NLTKWordTokenizer().tokenize(sentence)


def test_full_stops_inside_a_text_are_words_of_their_own() -> None:
    assert words("The end. Or not the end.") == ["The", "end", ".", "Or", "not", "the", "end", "."]


def test_case_and_any_blank() -> None:
    assert words("The\tthe\n\nTHE") == ["The", "the", "THE"]


@pytest.mark.parametrize("blank", ["", " ", "\n\t "])
def test_blank_texts(blank: str) -> None:
    assert words(blank) == []
    assert sentences(blank) == [blank]


def test_sentences_without_training_data() -> None:
    assert sentences("It rained. Did you see? Yes!\nI did") == ["It rained.", "Did you see?", "Yes!", "I did"]


@pytest.mark.parametrize("hostile", [". " * 5000, "." * 20000, "'" * 20000, "(" * 20000, " " * 50000 + "x"])
def test_hostile_texts_lose_nothing_but_blanks(hostile: str) -> None:
    assert "".join(words(hostile)) == "".join(hostile.split())
    assert "".join("".join(sentences(hostile)).split()) == "".join(hostile.split())


piece = st.one_of(
    st.from_regex(r"[A-Za-z]{1,7}[.,;:!?]?", fullmatch=True),
    st.sampled_from(
        ["cannot", "Gonna.", "wanna", "gotta!", "lemme", "gimme,", "don't", "U.S.", "3.5", "a-b", "(so)", "e.g.,"]
    ),
    st.text("abCD'\".,!?;:-()1$%", min_size=1, max_size=6),
)


@given(st.lists(piece, max_size=6))
def test_pieces_are_split_as_nltk_does(pieces: list[str]) -> None:
    split = NLTKWordTokenizer().tokenize
    assert words(" ".join(pieces)) == [word for part in pieces for word in split(part)]
