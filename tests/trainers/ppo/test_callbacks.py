"""Callbacks that see rollouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback

from genrlhf.trainers import Rollout, RolloutCallback
from tests.helpers import tiny_tokenizer
from tests.processes import run_in_two
from tests.trainers.runs import StopAt, largest_difference, ppo_trainer, share_of_letters, weights


class Watching(RolloutCallback):
    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []
        self.prompts: list[Any] = []
        self.rollouts: list[Rollout] = []

    def on_rollout_start(self, args: Any, state: Any, control: Any, *, index: int, prompts: Any, **kwargs: Any) -> None:
        assert kwargs["model"] is not None and kwargs["optimizer"] is not None
        self.events.append(("start", index))
        self.prompts.append(prompts)

    def on_rollout_end(self, args: Any, state: Any, control: Any, *, rollout: Rollout, **kwargs: Any) -> None:
        self.events.append(("end", rollout.index))
        self.rollouts.append(rollout)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.events.append(("step", state.global_step))


def test_when_they_are_called_and_with_what(tmp_path: Path) -> None:
    watching = Watching()
    rows = Dataset.from_list([{"prompt": "q" + "x" * (i % 5), "number": i} for i in range(32)])
    trainer = ppo_trainer(tmp_path, train_dataset=rows, callbacks=[watching], samples_per_prompt=4, eval_dataset=rows)
    trainer.train()
    trainer.evaluate()
    expected = [("start", 0), ("end", 0), ("step", 1), ("step", 2), ("start", 1), ("end", 1), ("step", 3), ("step", 4)]
    assert watching.events == expected
    for prompts, rollout in zip(watching.prompts, watching.rollouts, strict=True):
        assert len(prompts) == 4 and rollout.prompts == [prompt for prompt in prompts for _ in range(4)]
        assert rollout.prompts == [rows[number]["prompt"] for number in rollout.columns["number"]]
        scores = share_of_letters(rollout.prompts, rollout.completions)
        assert torch.allclose(rollout.scores, torch.tensor(scores))


def test_any_callback_with_such_a_method_may_end_training(tmp_path: Path) -> None:
    class Floor(TrainerCallback):
        def on_rollout_end(self, args: Any, state: Any, control: Any, rollout: Rollout, **kwargs: Any) -> Any:
            control.should_training_stop = rollout.index == 1
            return control

    trainer = ppo_trainer(tmp_path, callbacks=[Floor()], num_rollouts=5)
    trainer.train()
    assert trainer.state.global_step == 3  # an update behind the second rollout


def test_a_rollout_that_was_read_from_a_checkpoint_is_not_told_again(tmp_path: Path) -> None:
    saving = {"save_strategy": "steps", "save_steps": 1}
    ppo_trainer(tmp_path, callbacks=[StopAt(1)], **saving).train()
    watching = Watching()
    ppo_trainer(tmp_path, callbacks=[watching], **saving).train(resume_from_checkpoint=True)
    assert [event for event in watching.events if event[0] != "step"] == [("start", 1), ("end", 1)]


def test_watching_changes_nothing(tmp_path: Path) -> None:
    class Vandal(RolloutCallback):
        def on_rollout_end(self, args: Any, state: Any, control: Any, *, rollout: Rollout, **kwargs: Any) -> None:
            for tensor in (value for value in vars(rollout).values() if isinstance(value, torch.Tensor)):
                tensor.fill_(1)

    runs = [ppo_trainer(tmp_path / str(bool(given)), callbacks=given) for given in (None, [Vandal()])]
    for run in runs:
        run.train()
    assert largest_difference(*(weights(run.model) for run in runs)) == 0


def test_each_process_sees_its_own_part(tmp_path: Path) -> None:
    watching = Watching()
    ppo_trainer(tmp_path / "one", callbacks=[watching], samples_per_prompt=4, num_rollouts=1).train()
    run_in_two("tests.trainers.ppo.two_callbacks", str(tmp_path))
    parts = [torch.load(tmp_path / f"seen-{process}.pt", weights_only=True) for process in (0, 1)]
    assert parts[0] + parts[1] == watching.rollouts[0].completions and len(parts[0]) == len(parts[1])


def test_prompts_of_rollouts_are_those_of_the_dataset_as_they_are(tmp_path: Path) -> None:
    conversation = [{"role": "user", "content": "hi"}]
    watching = Watching()
    rows = Dataset.from_list([{"prompt": conversation}] * 16)
    tokenizer = tiny_tokenizer(chat_template=True)
    ppo_trainer(tmp_path, train_dataset=rows, tokenizer=tokenizer, callbacks=[watching], num_rollouts=1).train()
    assert watching.prompts[0][0] == watching.rollouts[0].prompts[0] == conversation
