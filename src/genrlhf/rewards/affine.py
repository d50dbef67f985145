"""Gain and bias of a reward model: where its scores lie, which preferences leave open."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from genrlhf.errors import ConfigError, DataError, ModelError

__all__ = [
    "Calibration",
    "adapter_calibration",
    "calibration_of",
    "check_target",
    "drop_calibration",
    "fit_calibration",
    "save_calibration",
    "set_calibration",
]

GAIN, BIAS = "genrlhf_reward_gain", "genrlhf_reward_bias"
ADAPTER_FILE = "genrlhf_reward.json"


class Calibration(NamedTuple):
    """An affine map of scores: reward = gain · score + bias.

    Attributes:
        gain: above 0, so that the order of completions stays.
        bias: the reward of the score 0.
    """

    gain: float = 1.0
    bias: float = 0.0


def check_target(mean: float, std: float | None) -> None:
    """Raise `ConfigError` unless rewards can have this mean and (unless None) this standard deviation."""
    if not math.isfinite(mean):
        raise ConfigError(f"mean is {mean}; give a finite number.")
    if std is not None and not 0 < std < math.inf:
        raise ConfigError(f"std is {std}; give a finite number above 0, or None to leave the deviation as it is.")


def fit_calibration(scores: Sequence[float], *, mean: float, std: float | None, source: str = "dataset") -> Calibration:
    """Return the gain and bias that give the rewards of `scores` a mean and, unless `std` is None, a deviation.

    gain = std / σ(scores), or 1; bias = mean − gain · mean(scores). σ divides by n (as in the code of Ziegler et al.
    2019, "Fine-Tuning Language Models from Human Preferences").

    Args:
        scores: of the model, before any gain and bias; one for each row of `source`.
        mean: the mean that the rewards shall have.
        std: the standard deviation that they shall have; None leaves that of the scores.
        source: what the rows are called in messages.

    Raises:
        ConfigError: for a mean or deviation that no rewards can have.
        DataError: where there are no scores, one is not finite, or they are too few or too alike for a deviation.
    """
    check_target(mean, std)
    if not scores:
        raise DataError(f"{source} is empty; give at least one demonstration to calibrate on.")
    for row, score in enumerate(scores):
        if not math.isfinite(score):
            raise DataError(
                f"{source}, row {row}: the reward model's score is {score}; drop the row, or use another model."
            )
    average = statistics.fmean(scores)
    if std is None:
        return Calibration(1.0, mean - average)
    if len(scores) < 2:
        raise DataError(f"{source} has one row, whose score has no deviation; give more, or std=None.")
    deviation = math.sqrt(statistics.fmean((score - average) ** 2 for score in scores))
    # Equal texts get scores that differ by rounding, which a gain would blow up.
    if deviation <= max(1e-5, 1e-6 * max(map(abs, scores))):
        raise DataError(
            f"The scores of the {len(scores)} rows of {source} are all {average:g}, so that no gain gives them a "
            f"deviation of {std:g}; give rows that differ, or std=None."
        )
    gain = std / deviation
    return Calibration(gain, mean - gain * average)


def set_calibration(config: Any, calibration: Calibration) -> None:
    """Write gain and bias into a model's config, with which `save_pretrained` saves them."""
    setattr(config, GAIN, calibration.gain)
    setattr(config, BIAS, calibration.bias)


def drop_calibration(config: Any) -> bool:
    """Take gain and bias out of a model's config and return whether there were any."""
    there = [name for name in (GAIN, BIAS) if hasattr(config, name)]
    for name in there:
        delattr(config, name)
    return bool(there)


def calibration_of(config: Any) -> Calibration:
    """Return the gain and bias in a model's config, 1 and 0 where there are none.

    Raises:
        ModelError: where they are no finite numbers, or the gain is not above 0.
    """
    return _checked({name: getattr(config, name) for name in (GAIN, BIAS) if hasattr(config, name)}, "config.json")


def save_calibration(folder: Path, calibration: Calibration) -> None:
    """Write gain and bias to the folder of a saved model, all of the file or nothing; 1 and 0 are left out.

    They go to `config.json`, or to `genrlhf_reward.json` beside an adapter, which has no such file.
    """
    file = folder / (ADAPTER_FILE if _holds_adapter(folder) else "config.json")
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    content = {key: value for key, value in content.items() if key not in (GAIN, BIAS)}
    if calibration != Calibration():
        content |= {GAIN: calibration.gain, BIAS: calibration.bias}
    if not content:
        file.unlink(missing_ok=True)
        return
    temporary = file.with_name(file.name + ".tmp")
    temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(file)


def adapter_calibration(folder: Path) -> Calibration | None:
    """Return the gain and bias beside an adapter, 1 and 0 where there are none; None if `folder` holds no adapter.

    Raises:
        ModelError: as `calibration_of` does.
    """
    if not _holds_adapter(folder):
        return None
    file = folder / ADAPTER_FILE
    return _checked(json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}, str(file))


def _holds_adapter(folder: Path) -> bool:
    return (folder / "adapter_config.json").is_file()


def _checked(content: dict[str, Any], where: str) -> Calibration:
    gain, bias = content.get(GAIN, 1.0), content.get(BIAS, 0.0)
    numbers = all(isinstance(value, (int, float)) and math.isfinite(value) for value in (gain, bias))
    if not numbers or gain <= 0:
        raise ModelError(
            f"{where} has {GAIN} {gain!r} and {BIAS} {bias!r}, which must be finite numbers, the gain above 0; "
            "calibrate the model again, or remove both."
        )
    return Calibration(float(gain), float(bias))
