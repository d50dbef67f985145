"""The automatic rater: ROUGE-L, the rating and the preferences made from it."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrlhf.data import check_rows, preferences_from_samples, rate, rouge_l, tldr_prompt
from genrlhf.errors import ConfigError, DataError

PROMPT = tldr_prompt("pets", "the couch", "my cat clawed the couch and the dog slept.")
REFERENCE = " cat clawed the couch."


def lcs_by_table(a: list[str], b: list[str]) -> int:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@pytest.mark.parametrize(
    ("candidate", "reference", "expected"),
    [
        ("a b c", "a b c", 1.0),
        ("a b", "c d", 0.0),
        ("", "a", 0.0),
        ("a", "", 0.0),
        ("", "", 0.0),
        ("...", "a", 0.0),
        # Lin (2004), section 3: LCS 3 of 4 and 4 words; then LCS 2.
        ("police kill the gunman", "police killed the gunman", 3 / 4),
        ("the gunman kill police", "police killed the gunman", 2 / 4),
        # LCS "the cat mat": precision 3/5, recall 3/4.
        ("The CAT, on a mat? the".replace(" the", ""), "the cat sat mat", 2 * (3 / 5) * (3 / 4) / (3 / 5 + 3 / 4)),
        ("b a", "a b", 0.5),
        ("a a a", "a", 2 * 1 / (3 + 1)),
        ("Größe zählt", "größe ZÄHLT!", 1.0),
    ],
)
def test_rouge_l_by_hand(candidate: str, reference: str, expected: float) -> None:
    assert rouge_l(candidate, reference) == pytest.approx(expected, abs=1e-15)


@given(
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=90),
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=90),
)
def test_rouge_l_against_the_table(a: list[str], b: list[str]) -> None:
    expected = 2 * lcs_by_table(a, b) / (len(a) + len(b))
    assert rouge_l(" ".join(a), " ".join(b)) == pytest.approx(expected, abs=1e-15)
    assert rouge_l(" ".join(b), " ".join(a)) == pytest.approx(expected, abs=1e-15)


def test_long_texts_take_no_time() -> None:
    start = time.process_time()
    rouge_l("a b " * 100_000, "b a " * 50)
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        # All of it: ROUGE-L 1, and all content words (cat, clawed, couch) stand in the post.
        (REFERENCE, 1 + 0.2),
        (REFERENCE.rstrip("."), 1 + 0.2 - 0.1),
        # LCS 1 of 1 and 4 words; no stop.
        (" couch", 2 / 5 + 0.2 - 0.1),
        # LCS 3 of 4 and 4; one of the three content words (cat, burned, couch) is not in the post.
        (" cat burned the couch.", 3 / 4 + 0.2 * 2 / 3),
        # LCS 4 of 8 and 4; 7 pairs, 4 distinct (cat clawed, clawed the, the couch, couch cat); 4 words too many.
        (" cat clawed the couch cat clawed the couch.", 8 / 12 + 0.2 - 0.3 * 3 / 7 - 0.08),
        # No words: nothing but the missing stop.
        ("", -0.1),
        # 40 words too many cost no more than 0.3; one of 43 pairs is distinct.
        (" x" * 44 + ".", 0.2 * 0 - 0.3 * 42 / 43 - 0.3),
        # Function words are no content; LCS 1 of 1 and 4.
        (" the.", 2 / 5),
    ],
)
def test_rating_by_hand(completion: str, expected: float) -> None:
    assert rate([PROMPT], [completion], [REFERENCE]) == [pytest.approx(expected, abs=1e-12)]


def test_no_stop_is_asked_for_where_references_have_none() -> None:
    assert rate([PROMPT] * 2, [" cat", " cat."], [" cat"] * 2) == pytest.approx([1.2, 1.2], abs=1e-12)


def test_words_of_the_format_are_not_content_of_the_post() -> None:
    assert rate([PROMPT], [" subreddit post"], [" cat"]) == pytest.approx([-0.02], abs=1e-12)
    assert rate(["Name a pet."], [" pet"], [" cat"]) == pytest.approx([0.2], abs=1e-12)


def test_rate_wants_one_of_each() -> None:
    with pytest.raises(DataError, match="rate got 1 prompts, 2 completions and 1 references"):
        rate(["a"], ["b", "c"], ["d"])


SAMPLES = [REFERENCE, " couch", "", " cat burned the couch.", REFERENCE + "\n"]


def test_pairs_are_in_the_order_of_the_ratings() -> None:
    pairs = preferences_from_samples([PROMPT], [SAMPLES], [REFERENCE], n_pairs_per_prompt=10, min_margin=0.0)
    # Ratings 1.2, 0.883 and 0.5; the empty one gives no pair, and the last one is the first again.
    first, second, third = REFERENCE, " cat burned the couch.", " couch"
    assert pairs.column_names == ["prompt", "chosen", "rejected"]
    assert {(row["chosen"], row["rejected"]) for row in pairs} == {(first, second), (first, third), (second, third)}
    check_rows(pairs, ["prompt", "chosen", "rejected"])


def test_margin_is_the_least_difference() -> None:
    wide = preferences_from_samples([PROMPT], [SAMPLES], [REFERENCE], n_pairs_per_prompt=10, min_margin=0.35)
    assert {(row["chosen"], row["rejected"]) for row in wide} == {
        (REFERENCE, " couch"),
        (" cat burned the couch.", " couch"),
    }


def test_ties_are_skipped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    # "cat couch" and "couch cat" share one word in order with the reference and differ in nothing else that counts.
    samples = [SAMPLES, [" couch", "couch "], [" cat couch", " couch cat"], [" couch"], []]
    references = [REFERENCE, REFERENCE, " dog.", REFERENCE, REFERENCE]
    with caplog.at_level(logging.WARNING, logger="genrlhf.data.rater"):
        pairs = preferences_from_samples([PROMPT] * 5, samples, references, min_margin=0)
    assert len(pairs) == 1
    assert caplog.messages == ["4 of 5 prompts gave no pair: their samples are equal, or rated within 0."]


def test_pairs_do_not_depend_on_the_order() -> None:
    prompts = [tldr_prompt("pets", "couch", f"cat number {i} clawed the couch.") for i in range(20)]
    samples = [[f" cat {i}.", f" number {i} couch.", " the couch.", " a dog"] for i in range(20)]

    def made(order: list[int], seed: int) -> set[tuple[str, str, str]]:
        mixed = [random.Random(len(order)).sample(samples[i], 4) if order[0] else samples[i] for i in order]
        pairs = preferences_from_samples([prompts[i] for i in order], mixed, [REFERENCE] * 20, seed=seed)
        return {(row["prompt"], row["chosen"], row["rejected"]) for row in pairs}

    straight = made(list(range(20)), 0)
    assert len(straight) == 20
    assert made(list(range(19, -1, -1)), 0) == straight
    assert made(list(range(20)), 1) != straight


def by_length(prompts: Sequence[str], completions: Sequence[str], references: Sequence[str]) -> list[float]:
    return [float(len(text)) for text in completions]


def test_another_rater_decides() -> None:
    pairs = preferences_from_samples([PROMPT], [[" cat.", " a cat."]], [""], rater=by_length)
    assert pairs[:]["chosen"] == [" a cat."]
    assert pairs[:]["rejected"] == [" cat."]


def test_the_rater_is_asked_once() -> None:
    calls = []

    def counted(prompts: Sequence[str], completions: Sequence[str], references: Sequence[str]) -> list[float]:
        calls.append(list(zip(prompts, completions, references, strict=True)))
        return by_length(prompts, completions, references)

    pairs = preferences_from_samples(["p", "q"], [[" bb", " a", " a"], [" c", " ddd"]], ["r", "s"], rater=counted)
    assert calls == [[("p", " a", "r"), ("p", " bb", "r"), ("q", " c", "s"), ("q", " ddd", "s")]]
    assert [(row["chosen"], row["rejected"]) for row in pairs] == [(" bb", " a"), (" ddd", " c")]


@pytest.mark.parametrize(
    ("ratings", "message"),
    [
        ([1.0], "returned 1 ratings for 2 completions; return one for each"),
        ([1.0, float("nan")], "gave nan to the completion ' b' of the prompt 'p'; return a finite number"),
    ],
)
def test_ratings_that_cannot_be_used(ratings: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        preferences_from_samples(["p"], [[" a", " b"]], [""], rater=lambda *_: ratings)


def test_labels_follow_bradley_terry() -> None:
    prompts = [f"prompt {i}" for i in range(2000)]
    pairs = preferences_from_samples(
        prompts, [[" cat.", " a cat."]] * 2000, [""] * 2000, rater=by_length, temperature=2.0
    )
    share = sum(row["chosen"] == " a cat." for row in pairs) / len(pairs)
    # The lengths differ by 2: σ(2 / 2) = 0.7311, within four standard errors of a share of 2000.
    assert share == pytest.approx(0.7311, abs=0.04)


def test_preference_errors() -> None:
    with pytest.raises(ConfigError, match="n_pairs_per_prompt is 0"):
        preferences_from_samples([PROMPT], [SAMPLES], [REFERENCE], n_pairs_per_prompt=0)
    with pytest.raises(ConfigError, match=r"min_margin is -0\.1"):
        preferences_from_samples([PROMPT], [SAMPLES], [REFERENCE], min_margin=-0.1)
    with pytest.raises(ConfigError, match=r"temperature is -1"):
        preferences_from_samples([PROMPT], [SAMPLES], [REFERENCE], temperature=-1)
    with pytest.raises(DataError, match="1 prompts, 2 lists of samples and 1 references"):
        preferences_from_samples([PROMPT], [SAMPLES, SAMPLES], [REFERENCE])
    with pytest.raises(DataError, match=r"none of 1 prompts has two completions .* higher temperature"):
        preferences_from_samples([PROMPT], [[" couch"]], [REFERENCE])
    with pytest.raises(DataError, match="are the string ' couch'; give a list"):
        preferences_from_samples([PROMPT], [" couch"], [REFERENCE])  # type: ignore[list-item]
