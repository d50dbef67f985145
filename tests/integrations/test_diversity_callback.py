"""Diversity while other trainers train: what is logged and kept, and that the training does not notice."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genrlhf.integrations import DiversityCallback, load_outputs
from genrlhf.metrics import EAD, across_input_diversity, per_input_diversity
from genrlhf.types import SamplingParams
from tests.integrations.trainers import TRAINERS, trained
from tests.trainers.runs import largest_difference, weights

PROMPTS = ["q", "qx", "qxxx"]
SHORT = SamplingParams(max_new_tokens=8)
NOISE = ("runtime", "per_second", "time/", "seconds", "step_time")


def callback(**options: Any) -> DiversityCallback:
    return DiversityCallback(**{"prompts": PROMPTS, "n": 3, "every": 2, "params": SHORT, **options})


def entries(trainer: Any) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """What the callback logged, and what the Trainer did, without what depends on the clock."""
    history = [
        {key: value for key, value in entry.items() if not any(word in key for word in NOISE)}
        for entry in trainer.state.log_history
    ]
    ours = [entry for entry in history if any(key.startswith("diversity/") for key in entry)]
    return ours, [entry for entry in history if entry not in ours]


@pytest.mark.parametrize("name", TRAINERS)
def test_every_trainer_is_sampled_and_trains_as_without_it(name: str, tmp_path: Path) -> None:
    without = trained(name, tmp_path / "without", [])
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    trainer = trained(name, tmp_path / "with", [callback()])
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states
    assert largest_difference(weights(trainer.model), weights(without.model)) == 0.0
    ours, others = entries(trainer)
    assert others == entries(without)[1] and len(others) >= 2
    assert [entry["step"] for entry in ours] == [0, 2, 4]
    for entry in ours:
        file = Path(trainer.args.output_dir) / "diversity" / f"step-{entry['step']}.jsonl"
        rows = load_outputs(file)
        assert [row["prompt"] for row in rows] == PROMPTS
        outputs = [row["outputs"] for row in rows]
        assert entry["diversity/per_input/ead"] == per_input_diversity(outputs, EAD()).value
        assert entry["diversity/across_input/ead"] == across_input_diversity(outputs, EAD()).value
