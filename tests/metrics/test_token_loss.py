"""Loss of a checkpoint beside its base's, and KL."""

from __future__ import annotations

import math

import numpy as np
import pytest

from genrlhf.errors import DataError, ShapeError
from genrlhf.metrics import forgetting, forward_kl, mean_estimate


def test_losses_are_means_over_tokens() -> None:
    found = forgetting([[-1.0, -2.0, -3.0], [-4.0]], [[-1.0, -2.0, -3.0], [-6.0]], kl=[[0.1, 0.2, 0.3], [0.6]])
    assert found.base_loss.value == pytest.approx(10 / 4)
    assert found.loss.value == pytest.approx(12 / 4)
    assert found.increase.value == pytest.approx(2 / 4)
    assert found.forward_kl is not None
    assert found.forward_kl.value == pytest.approx(1.2 / 4)
    assert found.increase.n == 2
    assert set(found.to_dict()) == {"base_loss", "loss", "increase", "forward_kl"}


def test_texts_of_one_length_have_the_interval_of_a_mean() -> None:
    generator = np.random.default_rng(0)
    base = -generator.exponential(size=(20, 7))
    found = forgetting(base.tolist(), (base - 0.1 * generator.exponential(size=(20, 7))).tolist())
    expected = mean_estimate(-base.mean(axis=1))
    assert found.base_loss.ci == pytest.approx(expected.ci)
    assert found.base_loss.stderr == pytest.approx(expected.stderr)
    # Both models see the same texts.
    assert found.increase.stderr < found.base_loss.stderr / 3


def test_the_error_of_a_ratio_is_that_of_the_jackknife() -> None:
    generator = np.random.default_rng(1)
    texts = [(-generator.exponential(size=n)).tolist() for n in generator.integers(1, 60, size=200)]
    found = forgetting(texts, texts).base_loss
    total, count = sum(map(sum, texts)), sum(map(len, texts))
    without = np.array([-(total - sum(each)) / (count - len(each)) for each in texts])
    assert found.stderr == pytest.approx(math.sqrt(199 / 200 * ((without - without.mean()) ** 2).sum()), rel=1e-9)


def test_few_texts_of_unequal_length_say_less_than_as_many_of_one_length() -> None:
    # Four tokens of 40 are in nine texts: the interval is that of little more than one.
    sizes = [36, *[1] * 4]
    moves = np.array([0.1, 0.4, 0.2, 0.3, 0.5])
    base = [[-1.0] * n for n in sizes]
    found = forgetting(base, [[x - move for x in row] for row, move in zip(base, moves.tolist(), strict=True)]).increase
    assert found.value == pytest.approx((3.6 + 1.4) / 40)
    # Student's t of one degree of freedom, 12.7.
    assert found.ci[1] - found.value > 12.7 * found.stderr * 0.9
    assert forgetting([[-1.0, -2.0]], [[-1.0, -2.5]]).increase.value == 0.25


def test_an_unchanged_model_has_forgotten_nothing() -> None:
    texts = [[-1.0, -2.0], [-0.5]]
    found = forgetting(texts, texts, kl=[[0.0, 0.0], [0.0]])
    assert found.increase.value == 0.0
    assert math.isnan(found.increase.ci[0])


def test_kl_by_hand_and_at_its_edges() -> None:
    p, q = np.array([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]]), np.array([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5]])
    with np.errstate(divide="ignore"):
        found = forward_kl(np.log(p), np.log(q))
        ruled_out = forward_kl(np.log(p[1]), np.log(q[0]))
    assert found.tolist() == pytest.approx([0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1), 0.0])
    assert ruled_out == math.inf
    with pytest.raises(ShapeError, match=r"\(2, 3\) and checkpoint \(3,\)"):
        forward_kl(p, q[0])


@pytest.mark.parametrize(
    ("base", "checkpoint", "message"),
    [
        ([], [], "base has no texts"),
        ([[]], [[]], "base, text 0 is no list of log-probabilities"),
        ([[-1.0]], [[0.5]], "checkpoint, text 0"),
        ([[-math.inf]], [[-1.0]], "base, text 0"),
        ([[-1.0]], [[-1.0], [-1.0]], "base has 1 texts and checkpoint 2"),
        ([[-1.0, -1.0]], [[-1.0]], "one tokenizer"),
    ],
)
def test_what_is_not_of_the_same_tokens(base: object, checkpoint: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        forgetting(base, checkpoint)  # type: ignore[arg-type]
