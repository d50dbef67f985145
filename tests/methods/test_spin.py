"""SPIN: demonstrations against the policy's own samples."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from genrlhf.errors import DataError
from genrlhf.methods import SPIN, get_method
from genrlhf.trainers import Completion, Group, SampleAndTuneConfig
from tests.helpers import EOS_ID, tiny_llama, tiny_tokenizer
from tests.trainers.runs import QUIET, largest_difference, logged, weights
from tests.trainers.test_best_of_n import fond_of
from tests.trainers.test_preference_tuning import trainer as preference_trainer

ROWS = [{"prompt": "q" + "x" * (number % 3), "completion": "ab" * (1 + number % 2)} for number in range(6)]


def test_every_sample_is_rejected_for_its_demonstration() -> None:
    drawn = [Completion("ab", True, [5, 6, 1]), Completion("ab", False, [5, 6]), Completion("c", True, [7, 1])]
    made = SPIN()(
        [Group("q", drawn, columns={"completion": "ab"}), Group("r", drawn[:1], columns={"completion": "ab"})]
    )
    assert [(row["chosen"], row["rejected"].text, row["rejected"].ended) for row in made.rows] == [
        ("ab", "ab", False),
        ("ab", "c", True),
    ]
    assert made.left_out == {"all samples are the demonstration": 1}
    messages: Any = [{"role": "assistant", "content": "ab"}]
    assert not SPIN()([Group("q", drawn[:1], columns={"completion": messages})]).rows


@pytest.mark.parametrize("chat", [False, True])
def test_two_iterations_are_each_against_the_last_model(chat: bool, tmp_path: Path) -> None:
    method = get_method("spin")
    rows: Any = ROWS
    if chat:
        turns = [("user", "prompt"), ("assistant", "completion")]
        rows = [{key: [{"role": role, "content": row[key]}] for role, key in turns} for row in ROWS]
    settings = {**QUIET, **method.recipe, "num_iterations": 2, "max_new_tokens": 4, "max_steps": 2, "logging_steps": 1}
    made = method.build(
        fond_of({EOS_ID: 4.0}),
        SampleAndTuneConfig(str(tmp_path), **{**settings, "learning_rate": 1e-2}),
        Dataset.from_list(rows),
        processing_class=tiny_tokenizer(chat_template=chat),
    )
    made.train()
    # The reference is the model that the iteration began with.
    assert logged(made.tuner, "loss")[0] == pytest.approx(math.log(2), abs=1e-6)
    assert logged(made.tuner, "rewards/margins")[1] > 0
    ids = made.tuner.train_dataset["chosen_ids"][0]
    assert EOS_ID in ids[2:4]


def test_a_pair_of_equals_has_no_gradient(tmp_path: Path) -> None:
    tokens = [{"prompt_ids": [5, 6], "chosen_ids": [7, 8, 1], "rejected_ids": [7, 8, 1]}] * 4
    made = preference_trainer("dpo", tmp_path, rows=tokens, optim="sgd")
    made.train()
    assert logged(made, "loss") == pytest.approx([math.log(2)] * 3, abs=1e-7)
    assert largest_difference(weights(made.model), weights(tiny_llama())) < 1e-7


def test_prompts_without_a_demonstration(tmp_path: Path) -> None:
    for rows, message in (
        ([{"prompt": "q"}], "train_dataset has no 'completion', only prompt; give rows of prompt and completion"),
        ([*ROWS, {"prompt": "q", "completion": ""}], "train_dataset, row 6, column 'completion' is empty"),
    ):
        args = SampleAndTuneConfig(str(tmp_path), **QUIET)
        with pytest.raises(DataError, match=message):
            get_method("spin").build(tiny_llama(), args, Dataset.from_list(rows), processing_class=tiny_tokenizer())
