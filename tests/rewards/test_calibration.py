"""Calibrating a saved reward model: what its rewards are afterwards, and what lies in its folder."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from genrlhf.errors import ConfigError, DataError, ModelError
from genrlhf.rewards import Calibration, ModelReward, calibrate_reward, load_reward
from tests.helpers import save_model, tiny_reward_model, tiny_tokenizer

PROMPTS = ["ab", "a longer one", "q", "xyz"]
COMPLETIONS = [" c", " d", " the end", ""]
ROWS = Dataset.from_dict({"prompt": PROMPTS, "completion": [text or " e" for text in COMPLETIONS]})


def rewards_of(reward: Any, rows: Dataset = ROWS) -> list[float]:
    values: list[float] = reward(rows["prompt"][:], rows["completion"][:])
    return values


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_model(tiny_reward_model(), tiny_tokenizer(), tmp_path / "reward")


@pytest.mark.parametrize("as_path", [str, Path])
def test_a_folder_is_changed_in_its_config_only(as_path: Any, folder: Path) -> None:
    before, scores = contents(folder), rewards_of(load_reward(folder))
    calibration = calibrate_reward(as_path(folder), ROWS, mean=0.5, std=2.0)
    rewards = rewards_of(load_reward(folder))
    assert statistics.fmean(rewards) == pytest.approx(0.5, abs=1e-9)
    assert statistics.pstdev(rewards) == pytest.approx(2.0, rel=1e-9)
    assert rewards == pytest.approx([calibration.gain * score + calibration.bias for score in scores], rel=1e-9)

    after = contents(folder)
    config = json.loads(after["config.json"])
    gain_and_bias = Calibration(config.pop("genrlhf_reward_gain"), config.pop("genrlhf_reward_bias"))
    assert gain_and_bias == calibration
    assert config == json.loads(before["config.json"])
    assert after.keys() == before.keys()
    assert all(after[name] == before[name] for name in before if name != "config.json")

    assert calibrate_reward(folder, ROWS, mean=0.5, std=2.0) == calibration
    assert contents(folder) == after


def test_the_mean_of_demonstrations_is_zero_by_default(folder: Path) -> None:
    scores = rewards_of(load_reward(folder))
    assert calibrate_reward(folder, ROWS) == pytest.approx((1.0, -statistics.fmean(scores)), rel=1e-9)


def test_plain_transformers_loads_it_and_keeps_gain_and_bias(folder: Path, tmp_path: Path) -> None:
    calibration = calibrate_reward(folder, ROWS, std=1.0)
    plain, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    ids = torch.tensor([[5, 6, 1]])
    assert torch.equal(plain(ids).logits, tiny_reward_model()(ids).logits)
    plain.save_pretrained(tmp_path / "copy")
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "copy")
    copied = load_reward(tmp_path / "copy")
    assert isinstance(copied, ModelReward)
    assert Calibration(copied.gain, copied.bias) == calibration
    assert rewards_of(copied) == rewards_of(load_reward(folder))


def test_output_dir(folder: Path, tmp_path: Path) -> None:
    before = contents(folder)
    expected = calibrate_reward(folder, ROWS, output_dir=tmp_path / "from folder")
    assert contents(folder) == before
    model = tiny_reward_model()
    calibrate_reward(model, ROWS, tokenizer=tiny_tokenizer(), output_dir=str(tmp_path / "from module"))
    for name in ("from folder", "from module"):
        reward = load_reward(tmp_path / name)
        assert (reward.gain, reward.bias) == expected  # type: ignore[attr-defined]
        assert statistics.fmean(rewards_of(reward)) == pytest.approx(0, abs=1e-9)
    # The same folder by another name is no place to write the weights to that are read from it.
    weights = (folder / "model.safetensors").stat().st_mtime_ns
    assert calibrate_reward(folder, ROWS, output_dir=folder / ".." / folder.name) == expected
    assert (folder / "model.safetensors").stat().st_mtime_ns == weights


def test_conversations(tmp_path: Path) -> None:
    folder = save_model(tiny_reward_model(), tiny_tokenizer(chat_template=True), tmp_path / "reward")
    rows = Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": prompt}],
                "completion": [{"role": "assistant", "content": completion}],
            }
            for prompt, completion in zip(PROMPTS, ROWS["completion"], strict=True)
        ]
    )
    calibrate_reward(folder, rows, mean=3.0)
    reward = load_reward(folder)
    assert statistics.fmean(rewards_of(reward, rows)) == pytest.approx(3.0, abs=1e-9)
    # As the trainers ask: for the text of a turn.
    assert statistics.fmean(reward(rows["prompt"][:], ROWS["completion"][:])) == pytest.approx(3.0, abs=1e-5)


def test_an_adapter_has_a_calibration_of_its_own(folder: Path, tmp_path: Path) -> None:
    calibrate_reward(folder, ROWS, mean=100.0, std=7.0)
    adapter = tmp_path / "adapter"
    torch.manual_seed(0)
    model = get_peft_model(
        AutoModelForSequenceClassification.from_pretrained(folder),
        LoraConfig(target_modules=["q_proj"], task_type="SEQ_CLS", init_lora_weights=False),
    )
    model.save_pretrained(adapter)
    files = set(contents(adapter))
    # The scores of the adapter are not those that the base was calibrated on.
    assert load_reward(adapter).gain == 1  # type: ignore[attr-defined]
    scores = rewards_of(load_reward(adapter))
    assert scores != pytest.approx(rewards_of(load_reward(tiny_reward_model(), tokenizer=tiny_tokenizer())), abs=0.01)
    calibration = calibrate_reward(adapter, ROWS, std=1.0)
    assert set(contents(adapter)) == files | {"genrlhf_reward.json"}
    rewards = rewards_of(load_reward(adapter))
    assert rewards == pytest.approx([calibration.gain * score + calibration.bias for score in scores], rel=1e-9)
    assert calibrate_reward(adapter, ROWS, std=1.0) == calibration
    # Merged and saved as a whole, it keeps them.
    calibrate_reward(adapter, ROWS, std=1.0, output_dir=tmp_path / "merged")
    assert rewards_of(load_reward(tmp_path / "merged")) == pytest.approx(rewards, abs=1e-5)


@pytest.mark.parametrize(
    ("rows", "settings", "error", "message"),
    [
        (ROWS, {"std": -1.0}, ConfigError, "std is -1.0"),
        (ROWS.select([]), {"mean": math.nan}, ConfigError, "mean is nan"),
        (ROWS.select([]), {}, DataError, "dataset is empty"),
        (ROWS.select([0]), {"std": 1.0}, DataError, "has one row"),
        (Dataset.from_list([{"prompt": "a", "completion": "b"}] * 3), {"std": 1.0}, DataError, "3 rows .* are all"),
        (ROWS.remove_columns("completion"), {}, DataError, "dataset has no column 'completion'"),
        (Dataset.from_list([{"prompt": "a", "completion": " "}]), {}, DataError, "row 0, column 'completion' is empty"),
    ],
)
def test_what_cannot_be_calibrated_stays_as_it_is(
    rows: Dataset, settings: dict[str, Any], error: type[Exception], message: str, folder: Path
) -> None:
    before = contents(folder)
    with pytest.raises(error, match=message):
        calibrate_reward(folder, rows, **settings)
    assert contents(folder) == before


def test_scores_that_are_not_finite(tmp_path: Path) -> None:
    model = tiny_reward_model()
    with torch.no_grad():
        model.score.weight.fill_(math.nan)
    folder = save_model(model, tiny_tokenizer(), tmp_path / "reward")
    with pytest.raises(
        DataError, match="dataset, row 0: the reward model's score is nan; drop the row, or use another"
    ):
        calibrate_reward(folder, ROWS)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("someone/reward-model", "gain and bias of 'someone/reward-model', which is no folder; give output_dir"),
        (tiny_reward_model(), "gain and bias of a module; give output_dir"),
        (len, "model must be the name or folder of a reward model, or a module, not <built-in function len>"),
        ([("rm", 1.0)], "model must be the name or folder"),
    ],
    ids=["hub", "module", "callable", "list"],
)
def test_where_there_is_no_place_to_store_them(model: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        calibrate_reward(model, ROWS)


def test_no_reward_model(causal_lm_folder: Path) -> None:
    with pytest.raises(ModelError, match="no trained score"):
        calibrate_reward(causal_lm_folder, ROWS)


def test_a_config_that_was_spoilt_by_hand_is_refused_when_loaded(folder: Path) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "genrlhf_reward_gain": "high"}))
    with pytest.raises(ModelError, match="config.json has genrlhf_reward_gain 'high'"):
        load_reward(folder)
    calibrate_reward_again = {"match": "calibrate the model again, or remove both"}
    with pytest.raises(ModelError, **calibrate_reward_again):
        calibrate_reward(folder, ROWS)
