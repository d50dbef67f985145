"""Runs that are killed while they write a checkpoint, and resumed: `python -m tests.trainers.kills DIR KIND:N …`.

One run of each trainer goes through. At a checkpoint that is to be cut off it forks: the fork works on a copy of the
folder, and the kernel kills it (SIGXFSZ) as soon as a file of the chosen part grows past the chosen byte, whoever
writes it; or it ends itself behind the part. Each folder that is left is then resumed by a process of its own.

Prints a JSON list of `[part, checkpoint that was cut off, how, step gone on from, outcome]` for each kind. The outcome
is "equal" for the weights of the run that went through, or the message of a `CheckpointError`.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import disable_progress_bars
from safetensors.torch import load_file, save_file

from genrlhf.errors import CheckpointError
from genrlhf.trainers import checkpoint
from genrlhf.trainers.checkpoint import ResumableTrainer, newest_complete_checkpoint
from genrlhf.trainers.checkpoint_files import MANIFEST, Manifest
from tests.trainers.runs import best_of_n, ppo_trainer, prompt_rows, reward_model_trainer, sft_trainer


class Counted:
    """A reward that learns how often each letter was written, and pays for those that are rare."""

    def __init__(self) -> None:
        self.counts = torch.ones(128)

    def __call__(self, prompts: Any, completions: Any) -> Any:
        return [float(sum(1 / self.counts[ord(char) % 128] for char in text)) for text in completions]

    def update(self, rollout: Any) -> None:
        for char in "".join(rollout.completions):
            self.counts[ord(char) % 128] += 1

    def state_dict(self) -> dict[str, Any]:
        return {"counts": self.counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.counts = state["counts"]


STEPS: dict[str, Any] = {"max_steps": 6, "save_strategy": "steps", "save_steps": 2, "save_total_limit": 1}
PPO: dict[str, Any] = {
    "num_rollouts": 3,
    "num_ppo_epochs": 3,
    "freeze_layers": 0.5,
    "kl_target": 0.5,
    "kl_horizon": 50.0,
    "scale_scores": True,
    "mask_top_p": 0.9,
    "mask_sync_rollouts": 2,
    "save_strategy": "steps",
    "save_steps": 1,
    "save_total_limit": 2,
}
MAKERS: dict[str, Callable[[Path], Any]] = {
    "sft": lambda folder: sft_trainer(folder, **STEPS),
    "reward_model": lambda folder: reward_model_trainer(folder, **STEPS),
    "best_of_n": lambda folder: best_of_n(folder, train_dataset=prompt_rows(8), **STEPS),
    "ppo": lambda folder: ppo_trainer(folder, reward=Counted(), **PPO),
}
# How many kills at which step; PPO's step 6 is the last one of a rollout. The first one has no older checkpoint.
STEPWISE = {4: 8, 6: 5, 2: 2}
CUT_OFF = {"sft": STEPWISE, "reward_model": STEPWISE, "best_of_n": STEPWISE, "ppo": {4: 9, 6: 6, 1: 2, 5: 3}}

# Every part of a checkpoint in the order in which they are written, and the largest file that it holds.
PARTS: dict[str, tuple[Any, str, str]] = {
    "mark": (Manifest, "begin", MANIFEST),
    "beside": (None, "_save_beside", "rollout-0.safetensors"),
    "model": (None, "save_model", "model.safetensors"),
    "tokenizer": (transformers.PreTrainedTokenizerBase, "save_pretrained", "tokenizer.json"),
    "optimizer": (None, "_save_optimizer_and_scheduler", "optimizer.pt"),
    "random numbers": (None, "_save_rng_state", "rng_state.pth"),
    "state": (transformers.TrainerState, "save_to_json", "trainer_state.json"),
    "list": (Manifest, "write", MANIFEST),
    "old": (checkpoint, "discard", ""),
}


def in_a_fork(work: Callable[[], None]) -> int:
    """Do `work` in a process of its own and return its wait status."""
    number = os.fork()
    if number:
        return os.waitpid(number, 0)[1]
    try:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        warnings.simplefilter("ignore")
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def plan(kind: str, kills: int) -> list[tuple[str, int, float]]:
    """Return part, step and how far into the part's largest file, for every kill."""
    generator = random.Random(kind)
    parts = [part for part in PARTS if kind == "ppo" or part != "beside"]
    steps = [step for step, count in CUT_OFF[kind].items() for _ in range(count)]
    return [(parts[i % len(parts)], step, generator.random()) for i, step in enumerate(steps[:kills])]


def arm(trainer: Any, part: str, limit: int) -> None:
    """Let this process be killed once a file of `part` has `limit` bytes, or else at the part's end."""
    owner, name, _ = PARTS[part]
    owner = trainer if owner is None else owner
    real = getattr(owner, name)

    def armed(*args: Any, **options: Any) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if part == "old":
            if args[0].is_dir():
                shutil.rmtree = _remove_one_file  # type: ignore[assignment]
            real(*args)
            return
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        real(*args, **options)
        os._exit(9)

    setattr(owner, name, staticmethod(armed) if owner is Manifest and name == "begin" else armed)


def _remove_one_file(folder: Path, **_: Any) -> None:
    if folder.is_dir():
        next(file for file in sorted(folder.iterdir()) if file.is_file()).unlink()
        os._exit(9)


def go_through(kind: str, folder: Path, kills: int) -> None:
    """Train without a break in `folder / "whole"`, and leave the folder of every kill beside it."""
    real = ResumableTrainer._save_checkpoint
    sizes: dict[str, int] = {}

    def forking(self: Any, model: Any, trial: Any) -> None:
        for number, (part, step, share) in enumerate(plan(kind, kills)):
            if step != self.state.global_step:
                continue
            place = folder / f"attempt-{number}"
            shutil.copytree(self.args.output_dir, place)

            def cut_off(place: Path = place, part: str = part, share: float = share) -> None:
                self.args.output_dir = str(place)
                arm(self, part, int(share * sizes.get(PARTS[part][2], 1000)))
                real(self, model, trial)

            status = in_a_fork(cut_off)
            killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXFSZ
            assert killed or os.WEXITSTATUS(status) == 9, (part, step, status)
            (place / "killed").write_text("by the kernel" if killed else "between two files")
        real(self, model, trial)
        newest = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        sizes.update({file.name: file.stat().st_size for file in newest.iterdir() if file.is_file()})

    ResumableTrainer._save_checkpoint = forking  # type: ignore[method-assign]
    trainer = MAKERS[kind](folder / "whole")
    trainer.train()
    ResumableTrainer._save_checkpoint = real  # type: ignore[method-assign]
    save_file(_state(trainer), folder / "whole.safetensors")


def _state(trainer: Any) -> dict[str, torch.Tensor]:
    trained = trainer.collector.model if hasattr(trainer, "collector") else trainer.model
    reward = getattr(getattr(getattr(trainer, "collector", None), "reward", None), "function", None)
    learnt = {"reward": reward.counts} if isinstance(reward, Counted) else {}
    return {name: each.detach().clone().contiguous() for name, each in {**trained.state_dict(), **learnt}.items()}


def resume(kind: str, folder: Path, place: Path) -> None:
    """Go on in `place`, and write down how that ended."""
    trainer = MAKERS[kind](place)
    try:
        trainer.train(resume_from_checkpoint=True)
    except CheckpointError as error:
        (place / "outcome").write_text(str(error))
        return
    want, found = load_file(folder / "whole.safetensors"), _state(trainer)
    equal = want.keys() == found.keys() and all(torch.equal(want[name], found[name]) for name in want)
    (place / "outcome").write_text("equal" if equal else "other weights")


def main(kind: str, folder: Path, kills: int) -> list[list[Any]]:
    """Cut off, resume, and return what came of each."""
    # In this process, so that the forks find everything imported.
    go_through(kind, folder, kills)
    outcomes = []
    for number, (part, step, _) in enumerate(plan(kind, kills)):
        place = folder / f"attempt-{number}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            newest = newest_complete_checkpoint(place)
        start = 0 if newest is None else int(newest.name.split("-")[1])
        assert in_a_fork(lambda place=place: resume(kind, folder, place)) == 0  # type: ignore[misc]
        outcomes.append([part, step, (place / "killed").read_text(), start, (place / "outcome").read_text()])
        shutil.rmtree(place)
    return outcomes


if __name__ == "__main__":
    torch.set_num_threads(1)
    disable_progress_bars()
    output, sys.stdout = sys.stdout, sys.stderr
    asked = [argument.split(":") for argument in sys.argv[2:]]
    found = {kind: main(kind, Path(sys.argv[1]) / kind, int(kills)) for kind, kills in asked}
    print(json.dumps(found), file=output, flush=True)
