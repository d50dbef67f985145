"""The adaptive KL coefficient."""

from __future__ import annotations

import pytest

from genrlhf.errors import ConfigError
from genrlhf.ops import adaptive_kl_coef


@pytest.mark.parametrize(
    ("kl", "factor"),
    [(6.0, 1.0), (6.6, 1 + 0.1 * 0.25), (100.0, 1 + 0.2 * 0.25), (5.4, 1 - 0.1 * 0.25), (-3.0, 1 - 0.2 * 0.25)],
)
def test_moves_in_proportion_to_the_error_within_a_fifth(kl: float, factor: float) -> None:
    assert adaptive_kl_coef(0.4, kl, target=6.0, horizon=1000, num_samples=250) == pytest.approx(0.4 * factor)


@pytest.mark.parametrize("setting", ["target", "horizon"])
def test_bad_settings(setting: str) -> None:
    with pytest.raises(ConfigError, match=f"{setting} must be above 0, not 0"):
        adaptive_kl_coef(0.1, 1.0, num_samples=1, **{"target": 6.0, "horizon": 10.0, setting: 0})  # type: ignore[arg-type]
