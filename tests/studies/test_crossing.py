"""The crossing point over seeds."""

from __future__ import annotations

from typing import Any

from genrlhf.metrics.solutions import crossing_point
from genrlhf.studies.crossing import crossing_over_seeds


def verdicts(right: list[int], outputs: int = 8) -> dict[str, Any]:
    return {"right": right, "outputs": outputs}


def listed(given: dict[str, Any]) -> list[list[bool]]:
    return [[i < c for i in range(given["outputs"])] for c in given["right"]]


BASE, TRAINED = verdicts([1] * 8), verdicts([8] * 4 + [0] * 4)


def test_one_seed_is_the_crossing_point() -> None:
    found = crossing_over_seeds([BASE], [TRAINED])
    assert found is not None and found == crossing_point(listed(BASE), listed(TRAINED))
    assert found.k == 5


def test_seeds_are_averaged_and_widen_the_interval() -> None:
    same = crossing_over_seeds([BASE] * 3, [TRAINED] * 3)
    assert same is not None and same == crossing_over_seeds([BASE], [TRAINED])
    base = [verdicts([1] * 60, 16)] * 3
    trained = [verdicts([16] * n + [0] * (60 - n), 16) for n in (10, 20, 30)]
    far = crossing_over_seeds(base, trained)
    near = crossing_over_seeds(base, [trained[1]] * 3)
    assert far is not None and near is not None and far.k == near.k
    assert far.ci[0] < near.ci[0] or far.ci[1] > near.ci[1]


def test_other_inputs_or_seeds_are_not_compared() -> None:
    assert crossing_over_seeds([BASE], [TRAINED] * 2) is None
    assert crossing_over_seeds([BASE], [verdicts([1])]) is None
    fewer = crossing_over_seeds([BASE], [verdicts([4] * 4 + [0] * 4, 4)])
    assert fewer is not None and fewer.max_k == 4
