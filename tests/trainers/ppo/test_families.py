"""PPO on models that need care: recurrent ones, mixtures of experts, models that read padding as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from genrlhf.errors import ModelError
from tests.decoders.configs import build
from tests.helpers import tiny_tokenizer
from tests.trainers.runs import interrupted_and_whole, largest_difference, ppo_trainer, weights


@pytest.mark.parametrize(
    "name", ["rwkv", "roformer", "mamba", "mixtral", "qwen2_moe", "gpt_oss", "qwen3_next:reversed"]
)
@pytest.mark.parametrize("frozen", [0.0, 0.5])
def test_the_first_ratio_is_one(name: str, frozen: float, tmp_path: Path) -> None:
    trainer = ppo_trainer(
        tmp_path,
        model=build(name),
        tokenizer=tiny_tokenizer(),
        num_rollouts=1,
        freeze_layers=frozen,
        num_ppo_epochs=1,
        logging_steps=1,
    )
    trainer.train()
    log = next(entry for entry in trainer.state.log_history if "policy/ratio" in entry)
    assert log["policy/ratio"] == pytest.approx(1, abs=1e-5)
    assert log["objective/kl"] == pytest.approx(0, abs=1e-4)


def test_a_model_that_samples_otherwise_than_it_reads_is_refused_by_name(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, model=build("roberta"), tokenizer=tiny_tokenizer(), num_rollouts=1)
    with pytest.raises(ModelError, match="'roberta' find other probabilities"):
        trainer.train()


@pytest.mark.parametrize("name", ["gpt_neox", "mixtral"])
def test_families_that_are_saved_under_other_names_are_resumed(name: str, tmp_path: Path) -> None:
    def make(folder: Path, callbacks: Any) -> Any:
        return ppo_trainer(
            folder,
            model=build(name),
            tokenizer=tiny_tokenizer(),
            num_rollouts=2,
            num_ppo_epochs=2,
            freeze_layers=0.5,
            callbacks=callbacks,
        )

    resumed, whole = interrupted_and_whole(make, tmp_path, 3)
    assert largest_difference(weights(resumed.collector.model), weights(whole.collector.model)) == 0
