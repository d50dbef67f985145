"""The rule of checkpoints, which all trainers share."""

from __future__ import annotations

import inspect
import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, Trainer

from genrlhf.errors import CheckpointError, ConfigError
from genrlhf.trainers import checkpoint
from genrlhf.trainers.checkpoint import ResumableTrainer, checkpoints_in, newest_complete_checkpoint
from genrlhf.trainers.checkpoint_files import MANIFEST, flaw_of
from tests.data.test_log import room_for
from tests.helpers import tiny_opt
from tests.processes import run_alone
from tests.trainers.kills import CUT_OFF, in_a_fork
from tests.trainers.runs import (
    best_of_n,
    largest_difference,
    ppo_trainer,
    prompt_rows,
    reward_model_trainer,
    sft_trainer,
    weights,
)

SAVING: dict[str, Any] = {"save_strategy": "steps", "save_steps": 1}
MAKERS: dict[str, Callable[..., Any]] = {
    "sft": lambda folder, **options: sft_trainer(folder, **{"max_steps": 3, **SAVING, **options}),
    "reward_model": lambda folder, **options: reward_model_trainer(folder, **{"max_steps": 3, **SAVING, **options}),
    "best_of_n": lambda folder, **options: best_of_n(
        folder, train_dataset=prompt_rows(4), **{"max_steps": 3, **SAVING, **options}
    ),
    "ppo": lambda folder, **options: ppo_trainer(
        folder, **{"num_rollouts": 1, "num_ppo_epochs": 3, **SAVING, **options}
    ),
}
KINDS = pytest.mark.parametrize("kind", MAKERS)


def folders(run: Path) -> list[str]:
    return sorted(path.name for path in run.iterdir() if path.is_dir())


@pytest.mark.parametrize(("kind", "kills"), [("sft", 15), ("reward_model", 15), ("best_of_n", 15), ("ppo", 20)])
def test_kills_within_checkpoints_end_in_the_weights_of_a_run_that_was_let_be(
    tmp_path: Path, kind: str, kills: int
) -> None:
    done = run_alone("tests.trainers.kills", str(tmp_path), f"{kind}:{kills}")
    assert done.returncode == 0, done.stderr[-4000:]
    outcomes = json.loads(done.stdout)[kind]
    assert len(outcomes) == kills == sum(CUT_OFF[kind].values())
    assert sum(how == "by the kernel" for _, _, how, _, _ in outcomes) > kills / 2
    for part, step, _, start, outcome in outcomes:
        if start or kind == "best_of_n":  # whose samples are there, to begin the fine-tuning anew
            assert outcome == "equal", (part, step, start, outcome)
        else:
            assert outcome.startswith("There is no complete checkpoint in"), (part, step, outcome)
            assert "\n" not in outcome
        assert start in ((step,) if part == "old" else (step, step - (1 if kind == "ppo" else 2)))


@KINDS
def test_newer_ones_are_whole_before_older_ones_go(tmp_path: Path, kind: str) -> None:
    MAKERS[kind](tmp_path, save_total_limit=1).train()
    assert folders(tmp_path) == ["checkpoint-3"]
    assert flaw_of(tmp_path / "checkpoint-3") is None
    listed = json.loads((tmp_path / "checkpoint-3" / MANIFEST).read_text())
    assert listed["processes"] == 1
    there = {path.name for path in (tmp_path / "checkpoint-3").iterdir()}
    assert there - {MANIFEST, "README.md", "training_args.bin"} == set(listed["files"])


@KINDS
def test_damage_is_named_and_the_one_before_it_taken(tmp_path: Path, kind: str) -> None:
    whole = MAKERS[kind](tmp_path / "run")
    whole.train()
    newest = tmp_path / "run" / "checkpoint-3"
    own = ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"]
    if kind == "ppo":
        # At the third step the rollout is used up.
        shutil.rmtree(newest)
        newest = tmp_path / "run" / "checkpoint-2"
    extra = ["ppo_state.json", "rollout-0.safetensors", "value_head.safetensors"] if kind == "ppo" else ["config.json"]
    for part in [*own, *extra]:
        content = (newest / part).read_bytes()
        # A checkpoint of plain transformers has no list; its files are known by their formats.
        for listed in (True, False):
            if not listed:
                (newest / MANIFEST).rename(newest.parent / MANIFEST)
            os.truncate(newest / part, len(content) // 2)
            assert part in str(flaw_of(newest)), (part, listed)
            if part in own or listed:
                (newest / part).unlink()
                assert (part if listed or part != "model.safetensors" else "no weights") in str(flaw_of(newest))
            (newest / part).write_bytes(content)
        (newest.parent / MANIFEST).rename(newest / MANIFEST)
        assert flaw_of(newest) is None
    os.truncate(newest / "optimizer.pt", 100)
    with pytest.raises(CheckpointError, match=f"{newest.name} has a damaged optimizer.pt of 100 bytes"):
        MAKERS[kind](tmp_path / "run").train(resume_from_checkpoint=str(newest))
    again = MAKERS[kind](tmp_path / "run")
    with pytest.warns(UserWarning, match=f"{newest.name} has a damaged optimizer.pt .*; it is passed over"):
        again.train(resume_from_checkpoint=True)
    assert largest_difference(weights(whole.model), weights(again.model)) == 0


def test_changed_bytes_of_the_same_number_are_noticed(tmp_path: Path) -> None:
    sft_trainer(tmp_path, max_steps=1, **SAVING).train()
    checkpoint = tmp_path / "checkpoint-1"
    file = checkpoint / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert flaw_of(checkpoint) == (
        f"has a model.safetensors that was changed after it was written (remove {MANIFEST} to take it as it is)"
    )
    (checkpoint / MANIFEST).unlink()
    assert flaw_of(checkpoint) is None
    assert flaw_of(tmp_path / "nowhere") == "is not there"
    for text in ("{", "[]", '{"finished": true}', '{"files": 3}', '{"other": 1}', '{"files": {"a": 1}}'):
        (checkpoint / MANIFEST).write_text(text)
        assert flaw_of(checkpoint) == f"has a damaged {MANIFEST}"
    assert newest_complete_checkpoint(tmp_path) is None


@KINDS
def test_weights_alone_are_not_resumed_from(tmp_path: Path, kind: str) -> None:
    MAKERS[kind](tmp_path, save_only_model=True).train()
    message = "has no optimizer.pt, which was lost, or left out by save_only_model=True"
    with pytest.raises(CheckpointError, match=message):
        MAKERS[kind](tmp_path).train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    if kind != "best_of_n":
        with (
            pytest.warns(UserWarning, match=message),
            pytest.raises(CheckpointError, match=rf"There is no complete checkpoint in .* \(checkpoint-3 {message}"),
        ):
            MAKERS[kind](tmp_path).train(resume_from_checkpoint=True)


@KINDS
def test_nothing_to_resume_from(tmp_path: Path, kind: str) -> None:
    with pytest.raises(CheckpointError, match=r"^There is no complete checkpoint in [^\n]*$"):
        MAKERS[kind](tmp_path).train(resume_from_checkpoint=True)
    with pytest.raises(CheckpointError, match="nowhere is not there; resume from another"):
        MAKERS[kind](tmp_path).train(resume_from_checkpoint=str(tmp_path / "nowhere"))


def test_names_that_are_no_steps_are_no_checkpoints(tmp_path: Path) -> None:
    for name in ("checkpoint-12", "checkpoint-²", "checkpoint-٣", "checkpoint-last", "checkpoint-"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-13").write_text("a file")
    assert checkpoints_in(tmp_path) == {12: tmp_path / "checkpoint-12"}


@pytest.mark.parametrize(
    ("ours", "theirs", "lost"), [("reward_model", "sft", "score.weight"), ("sft", "reward_model", "lm_head.weight")]
)
def test_a_checkpoint_of_another_kind_of_model_is_refused(tmp_path: Path, ours: str, theirs: str, lost: str) -> None:
    MAKERS[theirs](tmp_path / "theirs").train()
    with pytest.raises(CheckpointError, match=rf"has no {lost}: it belongs to another model"):
        MAKERS[ours](tmp_path / "ours").train(str(tmp_path / "theirs" / "checkpoint-2"))


def test_families_that_are_saved_under_other_names_are_resumed(tmp_path: Path) -> None:
    def make(folder: Path, steps: int) -> Any:
        torch.manual_seed(0)
        sizes = {"vocab_size": 258, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
        config = AutoConfig.for_model("gpt_neox", num_attention_heads=2, max_position_embeddings=64, **sizes)
        config.eos_token_id, config.pad_token_id, config.bos_token_id = 1, 0, None
        model = AutoModelForCausalLM.from_config(config)
        return MAKERS["sft"](folder, model=model, max_steps=steps, lr_scheduler_type="constant")

    whole, resumed = make(tmp_path / "whole", 2), make(tmp_path / "resumed", 2)
    whole.train()
    make(tmp_path / "resumed", 1).train()
    resumed.train(True)
    assert largest_difference(weights(whole.model), weights(resumed.model)) == 0


def test_tied_weights_are_not_missed(tmp_path: Path) -> None:
    for _ in range(2):
        trainer = MAKERS["sft"](tmp_path, model=tiny_opt(), max_steps=2)
        trainer.train((tmp_path / "checkpoint-1").is_dir())
    assert trainer.state.global_step == 2


def test_best_of_n_draws_nothing_for_a_checkpoint_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere is not there"):
        best_of_n(tmp_path, train_dataset=prompt_rows(2)).train(str(tmp_path / "nowhere"))
    assert not list(tmp_path.glob("*.jsonl"))


def test_only_true_or_a_folder_is_resumed_from(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="resume_from_checkpoint is 4; give True"):
        sft_trainer(tmp_path).train(resume_from_checkpoint=4)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="resume_from_checkpoint must be True"):
        best_of_n(tmp_path, train_dataset=prompt_rows(2), num_iterations=2).train(tmp_path)  # type: ignore[arg-type]


@KINDS
def test_full_disk_ends_in_one_line_and_leaves_nothing_half_written(tmp_path: Path, kind: str) -> None:
    # A limit on the size of files makes every writer fail, those in Rust and C++ too.
    whole = MAKERS[kind](tmp_path / "whole")
    whole.train()

    def run() -> None:
        real = ResumableTrainer._save_checkpoint
        unlimited = resource.RLIM_INFINITY

        def full(self: Any, *args: Any) -> None:
            if self.state.global_step == 3:
                resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, unlimited))
            try:
                real(self, *args)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, unlimited))

        ResumableTrainer._save_checkpoint = full  # type: ignore[method-assign]
        with pytest.raises(CheckpointError) as caught:
            MAKERS[kind](tmp_path / "run").train()
        (tmp_path / "message").write_text(str(caught.value))

    assert in_a_fork(run) == 0
    message = (tmp_path / "message").read_text()
    assert "checkpoint-3 could not be written (" in message and "\n" not in message
    assert folders(tmp_path / "run") == ["checkpoint-1", "checkpoint-2"]
    again = MAKERS[kind](tmp_path / "run")
    again.train(resume_from_checkpoint=True)
    assert largest_difference(weights(whole.model), weights(again.model)) == 0


def test_what_torch_says_of_a_full_disk_is_said_in_words(tmp_path: Path) -> None:
    with room_for(4_000), pytest.raises(RuntimeError, match="inline_container") as caught:
        torch.save(torch.zeros(10_000), tmp_path / "optimizer.pt")
    assert checkpoint._said(caught.value) == "a file of it took no more: the disk may be full"


def test_full_disk_while_best_of_n_samples_keeps_what_is_drawn(tmp_path: Path) -> None:
    options: dict[str, Any] = {"train_dataset": prompt_rows(20), "max_steps": 1}
    whole = best_of_n(tmp_path / "whole", **options)
    whole.train()
    with room_for(2_000), pytest.raises(CheckpointError, match=r"best_of_n-0.jsonl could not be written \(File too"):
        best_of_n(tmp_path / "run", **options).sample_training_set()
    samples = (tmp_path / "run" / "best_of_n-0.jsonl").read_bytes()
    want = (tmp_path / "whole" / "best_of_n-0.jsonl").read_bytes()
    assert want.startswith(samples) and samples.endswith(b"\n") and 500 < len(samples) < 2_000
    # Without a checkpoint it goes on with the samples.
    again = best_of_n(tmp_path / "run", **options)
    again.train(resume_from_checkpoint=True)
    assert (tmp_path / "run" / "best_of_n-0.jsonl").read_bytes() == want
    assert largest_difference(weights(whole.model), weights(again.model)) == 0


def test_other_circumstances_are_refused(tmp_path: Path) -> None:
    sft_trainer(tmp_path / "run", max_steps=3, **SAVING).train()
    newest = tmp_path / "run" / "checkpoint-3"
    with pytest.raises(CheckpointError, match="lies 3 steps into the training, behind its end at max_steps=2"):
        sft_trainer(tmp_path / "run", max_steps=2, **SAVING).train(resume_from_checkpoint=True)
    other = sft_trainer(tmp_path / "other", max_steps=4, per_device_train_batch_size=4, **SAVING)
    with pytest.raises(CheckpointError, match="was written with 8 rows an optimizer step, and this run has 4"):
        other.train(resume_from_checkpoint=str(newest))
    listed = json.loads((newest / MANIFEST).read_text())
    (newest / MANIFEST).write_text(json.dumps({**listed, "processes": 2}))
    with pytest.raises(CheckpointError, match="was written by 2 processes, and this run has 1"):
        sft_trainer(tmp_path / "run", max_steps=4, **SAVING).train(resume_from_checkpoint=True)
    (newest / MANIFEST).unlink()
    (newest / "rng_state.pth").rename(newest / "rng_state_0.pth")
    (newest / "rng_state_1.pth").write_bytes((newest / "rng_state_0.pth").read_bytes())
    with pytest.raises(CheckpointError, match="was written by 2 processes, and this run has 1"):
        sft_trainer(tmp_path / "run", max_steps=4, **SAVING).train(resume_from_checkpoint=True)


def test_checkpoint_of_plain_transformers_is_resumed_from(tmp_path: Path) -> None:
    whole = sft_trainer(tmp_path / "whole", max_steps=3)
    whole.train()
    first: Any = sft_trainer(tmp_path / "run", max_steps=3, save_strategy="steps", save_steps=2)
    # As if nothing of ours were there.
    first._save_checkpoint = lambda model, trial: Trainer._save_checkpoint(first, model, trial)
    first.train()
    shutil.rmtree(tmp_path / "run" / "checkpoint-3")
    assert not (tmp_path / "run" / "checkpoint-2" / MANIFEST).exists()
    again = sft_trainer(tmp_path / "run", max_steps=3)
    again.train(resume_from_checkpoint=True)
    assert largest_difference(weights(whole.model), weights(again.model)) == 0


def test_damaged_best_checkpoint_is_named(tmp_path: Path) -> None:
    rows = prompt_rows(4).map(lambda row: {"completion": "ab"})
    options: dict[str, Any] = {"eval_dataset": rows, "eval_strategy": "steps", "eval_steps": 1}
    trainer: Any = sft_trainer(tmp_path, max_steps=2, **SAVING, **options, load_best_model_at_end=True)
    real = trainer._load_best_model

    def damaged() -> None:
        os.truncate(Path(trainer.state.best_model_checkpoint) / "model.safetensors", 50)
        real()

    trainer._load_best_model = damaged
    with pytest.raises(CheckpointError, match="the best checkpoint, has a damaged model.safetensors of 50 bytes"):
        trainer.train()


def test_overwriting_leaves_no_checkpoint_of_the_other_run(tmp_path: Path) -> None:
    sft_trainer(tmp_path, max_steps=2, **SAVING).train()
    sft_trainer(tmp_path, max_steps=2, learning_rate=1e-3, overwrite_output_dir=True).train()
    assert folders(tmp_path) == []


def test_hooks_of_the_trainer_are_as_we_override_them() -> None:
    private = {
        "_save_checkpoint": ["self", "model", "trial"],
        "_get_output_dir": ["self", "trial"],
        "_push_from_checkpoint": ["self", "checkpoint_folder"],
        "_load_from_checkpoint": ["self", "resume_from_checkpoint", "model"],
        "_load_optimizer_and_scheduler": ["self", "checkpoint"],
        "_issue_warnings_after_load": ["self", "load_result"],
        "_load_scaler": ["self", "checkpoint"],
        "_load_rng_state": ["self", "checkpoint"],
        "_load_best_model": ["self"],
    }
    for name, arguments in private.items():
        assert list(inspect.signature(getattr(Trainer, name)).parameters) == arguments, name
    assert callable(Trainer._run_epoch)
    # What `_save_checkpoint` relies on: the state comes last, and old ones are deleted under this limit alone.
    source = inspect.getsource(Trainer._save_checkpoint)
    order = [
        "self.save_model(",
        "_save_optimizer_and_scheduler",
        "_save_rng_state",
        "save_to_json",
        "rotate_checkpoints",
    ]
    places = [source.index(call) for call in order]
    assert places == sorted(places)
    assert "save_total_limit=self.args.save_total_limit" in source
