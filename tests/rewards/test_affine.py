"""Gain and bias: from scores, in a config, in a folder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, LlamaConfig

from genrlhf.errors import ConfigError, DataError, ModelError
from genrlhf.rewards import Calibration
from genrlhf.rewards.affine import (
    adapter_calibration,
    calibration_of,
    drop_calibration,
    fit_calibration,
    save_calibration,
    set_calibration,
)


@pytest.mark.parametrize(
    ("scores", "mean", "std", "expected"),
    [
        ([1.0, 3.0], 0.0, None, (1.0, -2.0)),
        ([1.0, 3.0], 0.0, 1.0, (1.0, -2.0)),
        # Mean 4 and population variance (9 + 1 + 1 + 9) / 4 = 5.
        ([1.0, 3.0, 5.0, 7.0], 1.0, 2.0, (2 / math.sqrt(5), 1 - 8 / math.sqrt(5))),
        ([7.0], 0.5, None, (1.0, -6.5)),
        ([2.0, 2.0], 0.0, None, (1.0, -2.0)),
        ([0.0, 0.0], 0.0, None, (1.0, 0.0)),
    ],
)
def test_fit_by_hand(scores: list[float], mean: float, std: float | None, expected: tuple[float, float]) -> None:
    assert fit_calibration(scores, mean=mean, std=std) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mean": math.nan}, "^mean is nan; give a finite number"),
        ({"mean": math.inf}, "^mean is inf"),
        ({"std": 0.0}, "^std is 0.0; give a finite number above 0, or None"),
        ({"std": -1.0}, "^std is -1.0"),
        ({"std": math.nan}, "^std is nan"),
        ({"std": math.inf}, "^std is inf"),
    ],
)
def test_targets_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fit_calibration([1.0, 2.0], **{"mean": 0.0, "std": 1.0, **settings})


@pytest.mark.parametrize(
    ("scores", "std", "message"),
    [
        ([], None, "^rows is empty; give at least one demonstration"),
        ([1.0], 1.0, "^rows has one row, whose score has no deviation; give more, or std=None"),
        ([3.0, 3.0, 3.0], 1.0, "^The scores of the 3 rows of rows are all 3, so that no gain gives them a deviation"),
        ([3.0, 3.0 + 1e-6], 1.0, "^The scores of the 2 rows of rows are all 3,"),
        ([1e5, 1e5 + 0.1], 1.0, "^The scores of the 2 rows of rows are all 100000,"),
        ([0.0, 0.0], 1.0, "^The scores of the 2 rows of rows are all 0,"),
        ([1.0, math.nan], None, "^rows, row 1: the reward model's score is nan"),
        ([math.inf, 1.0], 1.0, "^rows, row 0: the reward model's score is inf"),
    ],
)
def test_scores_that_cannot_be_used(scores: list[float], std: float | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fit_calibration(scores, mean=0.0, std=std, source="rows")


def test_config(tmp_path: Path) -> None:
    config = LlamaConfig()
    assert calibration_of(config) == (1.0, 0.0)
    assert drop_calibration(config) is False
    third = Calibration(1 / 3, -0.1)
    set_calibration(config, third)
    config.save_pretrained(tmp_path)
    assert calibration_of(AutoConfig.from_pretrained(tmp_path)) == third
    assert drop_calibration(config) is True
    assert calibration_of(config) == (1.0, 0.0)
    config.save_pretrained(tmp_path)
    assert "genrlhf" not in (tmp_path / "config.json").read_text()


@pytest.mark.parametrize(("gain", "bias"), [(0.0, 0.0), (-1.0, 0.0), (math.nan, 0.0), (1.0, math.inf), ("2", 0.0)])
def test_what_no_calibration_has_written(gain: Any, bias: Any, tmp_path: Path) -> None:
    config = LlamaConfig()
    set_calibration(config, Calibration(gain, bias))
    with pytest.raises(
        ModelError, match=r"^config.json has genrlhf_reward_gain .* and genrlhf_reward_bias .*calibrate"
    ):
        calibration_of(config)
    (tmp_path / "adapter_config.json").write_text("{}")
    save_calibration(tmp_path, Calibration(gain, bias))
    with pytest.raises(ModelError, match=r"genrlhf_reward.json has genrlhf_reward_gain"):
        adapter_calibration(tmp_path)


def test_folder_of_a_model(tmp_path: Path) -> None:
    LlamaConfig(num_labels=1).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    before = json.loads(file.read_text())
    for calibration in (Calibration(2.0, 0.5), Calibration(1 / 3, -0.1)):
        save_calibration(tmp_path, calibration)
        after = json.loads(file.read_text())
        assert after.pop("genrlhf_reward_gain") == calibration.gain
        assert after.pop("genrlhf_reward_bias") == calibration.bias
        assert after == before
    save_calibration(tmp_path, Calibration())
    assert json.loads(file.read_text()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    assert adapter_calibration(tmp_path) is None


def test_folder_of_an_adapter(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    assert adapter_calibration(tmp_path) == (1.0, 0.0)
    save_calibration(tmp_path, Calibration(2.0, 0.5))
    assert adapter_calibration(tmp_path) == (2.0, 0.5)
    assert (tmp_path / "adapter_config.json").read_text() == "{}"
    save_calibration(tmp_path, Calibration())
    assert [path.name for path in tmp_path.iterdir()] == ["adapter_config.json"]


def test_a_file_that_cannot_be_replaced_keeps_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    LlamaConfig().save_pretrained(tmp_path)
    before = (tmp_path / "config.json").read_bytes()

    def full(*arguments: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        save_calibration(tmp_path, Calibration(2.0, 0.5))
    assert (tmp_path / "config.json").read_bytes() == before
