"""Over-used phrases, and whether models say the same."""

from __future__ import annotations

import math

import numpy as np
import pytest

from genrlhf.errors import ConfigError, DataError, ModelError
from genrlhf.metrics import Embedder
from genrlhf.metrics.solutions import homogeneity_between, over_used_phrases

OUTPUTS = [["a vibrant tapestry", "A vibrant, old city"], ["the vibrant tapestry"], ["so vibrant"]]
PEOPLE = ["the city is old", "a vibrant town", "it goes on", "no tapestry here"]


def test_ratios_and_intervals_by_hand() -> None:
    found = {each.phrase: each for each in over_used_phrases(OUTPUTS, PEOPLE, n=1, min_inputs=2)[1]}
    assert set(found) == {"vibrant", "tapestry"}
    one = found["vibrant"]
    assert (one.count, one.inputs, one.reference_count) == (4, 3, 1)
    # 4 of 12 words against 1 of 13
    assert one.ratio == pytest.approx((4 / 12) / (1 / 13))
    ours = 3 / 2 * sum((a / 4 - size / 12) ** 2 for a, size in ((2, 7), (1, 3), (1, 2)))
    theirs = 4 / 3 * sum((b - size / 13) ** 2 for b, size in ((0, 4), (1, 3), (0, 3), (0, 3)))
    variance = max(ours, 1 / 4.5 - 1 / 12.5) + max(theirs, 1 / 1.5 - 1 / 13.5)
    centre = math.log((4.5 / 12.5) / (1.5 / 13.5))
    half = 4.302652729696142 * math.sqrt(variance)  # t of 2 degrees of freedom
    assert one.ci == pytest.approx((math.exp(centre - half), math.exp(centre + half)))


def test_phrases_do_not_span_marks_and_ignore_case() -> None:
    found = over_used_phrases(OUTPUTS, PEOPLE, n=(2, 3), min_inputs=1)
    assert {each.phrase for each in found[2]} == {
        *("a vibrant", "vibrant tapestry", "old city", "the vibrant", "so vibrant"),
    }
    assert {each.phrase for each in found[3]} == {"a vibrant tapestry", "the vibrant tapestry"}
    assert next(each for each in found[2] if each.phrase == "a vibrant").count == 2


def test_what_references_never_say_has_a_finite_ratio() -> None:
    found = over_used_phrases([["delve into"]] * 30, ["we look upon it"] * 30, n=1)[1]
    best = found[0]
    assert (best.phrase, best.reference_count) == ("delve", 0)
    assert best.ratio == pytest.approx((30.5 / 60.5) / (0.5 / 120.5))
    assert 1 < best.ci[0] < best.ratio < best.ci[1] < math.inf


def test_a_phrase_of_many_inputs_is_surer_than_one_that_comes_in_a_burst() -> None:
    outputs = [["alpha here"]] * 10 + [["beta " * 10]] + [["other words"]] * 9
    found = [each.phrase for each in over_used_phrases(outputs, ["people say other here"] * 20, n=1, min_inputs=1)[1]]
    assert found.index("alpha") < found.index("beta")


def test_scripts_without_blanks_and_without_latin_letters() -> None:
    chinese = over_used_phrases([["今天天气好"]] * 4, ["我们去吃饭"] * 4, n=2)[2]
    assert "天 气" in [each.phrase for each in chinese]
    russian = over_used_phrases([["Важно отметить"]] * 4, ["мы пошли домой"] * 4, n=2)[2]
    assert [each.phrase for each in russian] == ["важно отметить"]


def test_texts_without_words_are_refused() -> None:
    with pytest.raises(DataError, match="references have no 1-grams"):
        over_used_phrases([["a b"]], ["", "…"])
    with pytest.raises(ConfigError, match="min_inputs is 0"):
        over_used_phrases([["a"]], ["b"], min_inputs=0)


def test_homogeneity_is_the_mean_over_pairs_across_models() -> None:
    def same_first_letter(pairs: list[tuple[str, str]]) -> list[float]:
        return [float(a[0] == b[0]) for a, b in pairs]

    models = {"x": [["aa", "ba"], ["ca", "cb"]], "y": [["ab", "ac"], ["cc", "da"]], "z": [["ba", "bb"], ["d", "e"]]}
    found = homogeneity_between(models, same_first_letter, bounds=(0, 1))
    assert {pair: figure.values.tolist() for pair, figure in found.between.items()} == {
        ("x", "y"): [0.5, 0.5],
        ("x", "z"): [0.5, 0.0],
        ("y", "z"): [0.0, 0.25],
    }
    assert found.overall.values.tolist() == pytest.approx([1 / 3, 0.25])
    assert {name: figure.values.tolist() for name, figure in found.within.items()} == {
        "x": [0.0, 1.0],
        "y": [1.0, 0.0],
        "z": [1.0, 0.0],
    }
    assert found.to_dict()["between"][0]["models"] == ["x", "y"]


def test_homogeneity_by_embeddings() -> None:
    vectors = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [0.6, 0.8]}
    embedder = Embedder(lambda texts: np.array([vectors[text] for text in texts]))
    found = homogeneity_between({"x": [["a"], ["a"]], "y": [["b"], ["c"]]}, embedder)
    assert found.overall.values.tolist() == pytest.approx([0.0, 0.6])
    assert found.within["x"].n == 0


def test_models_that_cannot_be_compared() -> None:
    with pytest.raises(DataError, match="There is 1 model"):
        homogeneity_between({"x": [["a"]]})
    with pytest.raises(DataError, match="'x': 1, 'y': 2"):
        homogeneity_between({"x": [["a"]], "y": [["a"], ["b"]]})
    with pytest.raises(ModelError, match="finite number a pair"):
        homogeneity_between({"x": [["a"]], "y": [["a"]]}, lambda pairs: [])
