"""The crossing point of pass@k curves, where it is known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics.solutions import crossing_point, pass_at_k


def rows(rates: list[float], n: int, seed: int) -> list[list[bool]]:
    generator = np.random.default_rng(seed)
    return (generator.random((len(rates), n)) < np.array(rates)[:, None]).tolist()


def test_it_is_the_first_k_at_which_the_means_cross() -> None:
    base, trained = rows([0.1] * 60, 32, 0), rows([0.8] * 30 + [0.0] * 30, 32, 1)
    found = crossing_point(base, trained, resamples=500)
    ahead = [k for k in range(1, 33) if pass_at_k(base, k).value > pass_at_k(trained, k).value]
    assert found.k == ahead[0]
    # 1 − 0.9^k reaches ½ at k = 6.6
    assert found.ci[0] <= 6.6 <= found.ci[1]
    assert found.crossed > 0.95
    assert (found.n, found.max_k) == (60, 32)


def test_curves_that_do_not_cross() -> None:
    never = crossing_point(rows([0.1] * 40, 8, 0), rows([0.6] * 40, 8, 1), resamples=200)
    assert (never.k, never.ci, never.crossed) == (None, (math.inf, math.inf), 0.0)
    assert str(never) == "none [beyond 8, beyond 8]"
    ahead = crossing_point(rows([0.6] * 40, 8, 0), rows([0.1] * 40, 8, 1), resamples=200)
    assert (ahead.k, ahead.ci, ahead.crossed) == (None, (1.0, 1.0), 0.0)
    same = rows([0.3] * 40, 8, 0)
    assert crossing_point(same, same, resamples=200).k is None


def test_its_json_has_no_infinity() -> None:
    found = crossing_point(rows([0.1] * 40, 8, 0), rows([0.6] * 40, 8, 1), resamples=50, max_k=4)
    form = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert form["ci"] == [None, None]
    assert form["pass@4"]["n"] == 40
    difference = pass_at_k(rows([0.1] * 40, 8, 0), 4).value - pass_at_k(rows([0.6] * 40, 8, 1), 4).value
    assert form["pass@4"]["value"] == pytest.approx(difference)


def test_a_seed_reproduces_it() -> None:
    base, trained = rows([0.1] * 30, 16, 0), rows([0.8] * 12 + [0.0] * 18, 16, 1)
    first, second = (crossing_point(base, trained, resamples=300, seed=3) for _ in range(2))
    assert first.ci == second.ci


def test_what_does_not_go_together() -> None:
    with pytest.raises(DataError, match="1 inputs and of 2"):
        crossing_point([[True]], [[True], [False]])
    with pytest.raises(DataError, match="fewer than max_k = 3"):
        crossing_point([[True] * 4], [[True] * 2], max_k=3)
    with pytest.raises(ConfigError, match="resamples is 0"):
        crossing_point([[True]], [[True]], resamples=0)
