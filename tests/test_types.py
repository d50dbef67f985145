"""Estimates, and the defaults of sampling."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from genrlhf.errors import ConfigError
from genrlhf.types import DiversityMetric, Estimate, Sample, Sampler, SamplingParams


def test_estimate_as_json() -> None:
    estimate = Estimate(0.25, 0.05, (0.15, 0.35), 3, np.array([0.2, 0.25, 0.3]))
    assert estimate.to_dict() == {"value": 0.25, "stderr": 0.05, "ci": [0.15, 0.35], "n": 3}
    assert str(estimate) == "0.250 [0.150, 0.350]"


def test_nan_becomes_none_and_numpy_numbers_become_plain() -> None:
    single = Estimate(np.float32(0.5), math.nan, (math.nan, np.float64("nan")), 1, np.array([0.5]))
    shown = single.to_dict()
    assert shown == {"value": 0.5, "stderr": None, "ci": [None, None], "n": 1}
    assert type(shown["value"]) is float
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
    assert str(single) == "0.500 [unknown]" and f"{single:.1f}" == "0.5 [unknown]"


def test_values_take_no_part_in_comparison_and_repr() -> None:
    one = Estimate(0.5, 0.1, (0.3, 0.7), 2, np.array([0.4, 0.6]))
    other = Estimate(0.5, 0.1, (0.3, 0.7), 2, np.array([0.3, 0.7]))
    assert one == other
    assert one != dataclasses.replace(one, n=3)
    assert "values" not in repr(one)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.value = 1.0  # type: ignore[misc]


def test_sampling_defaults_filter_nothing() -> None:
    params = SamplingParams()
    assert dataclasses.astuple(params) == (48, 0, 1.0, 0, 1.0, 0.0, 1.0, (), False)


def test_stop_is_a_sequence_of_strings() -> None:
    assert SamplingParams(stop=["\n", "END"]).stop == ("\n", "END")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"not one string; write stop=\('END',\)"):
        SamplingParams(stop="END")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"stop must be strings of at least one character, not \('',\)"):
        SamplingParams(stop=("",))


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_new_tokens": 0},
        {"min_new_tokens": -1},
        {"min_new_tokens": 49},
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.01},
        {"min_p": -0.1},
        {"min_p": 1.0},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": math.inf},
    ],
    ids=str,
)
def test_sampling_parameters_are_checked(wrong: dict[str, float]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ConfigError, match=f"^{name} must be .*, not {value}"):
        SamplingParams(**wrong)  # type: ignore[arg-type]


def test_protocols_recognise_what_fits() -> None:
    class Metric:
        name = "metric"

        def __call__(self, texts: list[str]) -> float:
            return float(len(texts))

    class Draws:
        def stream(
            self, prompts: list[str], n: int, params: SamplingParams, seed: int, *, rows: Sequence[int] | None = None
        ) -> Iterator[tuple[int, list[Sample]]]:
            yield from enumerate([[Sample("a", "stop", 1)] * n for _ in prompts])

        def sample(self, prompts: list[str], n: int, params: SamplingParams, seed: int) -> list[list[str]]:
            return [["a"] * n for _ in prompts]

    assert isinstance(Metric(), DiversityMetric)
    assert isinstance(Draws(), Sampler)
    assert not isinstance(Metric(), Sampler)
    assert not isinstance(len, DiversityMetric)
