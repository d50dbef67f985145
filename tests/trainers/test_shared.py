from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, IterableDataset

from genrlhf.errors import ConfigError, DataError, RunFolderError
from genrlhf.trainers import SFTConfig
from genrlhf.trainers.shared import check_prompts, device_for_trials, named_datasets, shorter, trl_args
from tests.helpers import tiny_llama, tiny_tokenizer
from tests.trainers.runs import QUIET, best_of_n, ppo_trainer, prompt_rows, reward_model_trainer, sft_trainer


def test_named_datasets() -> None:
    rows = Dataset.from_list([{"prompt": "a"}])
    assert named_datasets(None, None) == []
    assert named_datasets(rows, None) == [("train_dataset", rows)]
    assert named_datasets(rows, rows) == [("train_dataset", rows), ("eval_dataset", rows)]
    assert named_datasets(None, {"ood": rows}) == [("eval_dataset['ood']", rows)]
    with pytest.raises(DataError, match=r"eval_dataset\['ood'\] is a list; give a datasets.Dataset"):
        named_datasets(rows, {"ood": []})  # type: ignore[dict-item]
    with pytest.raises(DataError, match="train_dataset is empty"):
        named_datasets(rows.select([]), None)
    with pytest.raises(DataError, match="eval_dataset is empty"):
        named_datasets(rows, IterableDataset.from_generator(lambda: iter(())), streams=True)


@pytest.mark.parametrize("make", [sft_trainer, reward_model_trainer, ppo_trainer])
def test_a_trainer_refuses_an_output_dir_that_is_none_and_data_without_rows(tmp_path: Path, make: Any) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "at all")
    for place in ("file", "file/below", "link"):
        with pytest.raises(RunFolderError, match=r"output_dir='.* cannot be made a folder \(.*\); choose another one"):
            make(tmp_path / place)
    with pytest.raises(DataError, match="train_dataset is empty"):
        make(tmp_path, train_dataset=prompt_rows(1).select([]))


def test_check_prompts_counts_rows_over_the_whole_dataset() -> None:
    rows = Dataset.from_dict({"prompt": ["a"] * 1500 + ["b" * 55]})
    options: dict[str, Any] = {"model": tiny_llama(), "tokenizer": tiny_tokenizer()}
    check_prompts(rows, "prompts", max_new_tokens=9, **options)
    with pytest.raises(DataError, match="prompts, row 1500: the prompt .* has 55 tokens, and at most 54"):
        check_prompts(rows, "prompts", max_new_tokens=10, **options)
    with pytest.raises(ConfigError, match="max_new_tokens=64 leaves no room"):
        check_prompts(rows, "prompts", max_new_tokens=64, **options)


def test_trl_args_leaves_the_settings_of_the_user_alone(tmp_path: Path) -> None:
    args = SFTConfig(str(tmp_path), model_init_kwargs={"dtype": "bfloat16"}, max_length=7, use_cpu=True)
    changed = trl_args(args, max_length=5)
    assert (changed.model_init_kwargs, changed.max_length) == (None, 5)
    assert (args.model_init_kwargs, args.max_length) == ({"dtype": "bfloat16"}, 7)


def test_shorter() -> None:
    assert shorter(3, 5) == 3
    assert shorter(5, 3) == 3
    assert shorter(None, 5) == 5
    assert shorter(5, None) == 5
    assert shorter(None, None) is None


@pytest.mark.parametrize("trainer", [sft_trainer, reward_model_trainer, ppo_trainer, best_of_n])
def test_an_evaluation_set_is_called_by_its_name(tmp_path: Path, trainer: Any) -> None:
    made = trainer(tmp_path)
    made.train_dataset = made.train_dataset or prompt_rows(2)
    made.eval_dataset = {"id": made.train_dataset, "ood": made.train_dataset}
    with pytest.raises(ConfigError, match="no evaluation set 'odd'; the sets are 'id', 'ood'"):
        made.evaluate("odd")
    assert made.evaluate("ood")
    made.eval_dataset = made.train_dataset
    with pytest.raises(ConfigError, match="no evaluation set 'ood'; the sets have no names"):
        made.evaluate("ood")


def test_what_is_going_to_be_sharded_is_not_tried_out_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = SFTConfig(str(tmp_path), **QUIET)
    assert device_for_trials(args) == args.device
    for kind in ("FSDP", "DEEPSPEED"):
        with monkeypatch.context() as patch:
            patch.setenv(f"ACCELERATE_USE_{kind}", "true")
            assert device_for_trials(args) is None
    for name in ("fsdp", "deepspeed"):
        with monkeypatch.context() as patch:
            patch.setattr(args, name, {"config": 1})
            assert device_for_trials(args) is None
