"""Which prompts a rollout samples, and how its completions are dealt out to updates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, Sampler

from genrlhf.errors import ConfigError
from genrlhf.trainers.ppo.records import MicroBatch, RolloutTensors, groups_of

if TYPE_CHECKING:
    from datasets import Dataset

    from genrlhf.trainers.ppo.config import PPOConfig

__all__ = [
    "RolloutSampler",
    "as_they_are",
    "minibatch",
    "minibatch_rows",
    "rollout_loader",
]


class RolloutSampler(Sampler[int]):
    """Yields the prompts of each rollout, over and over while the rollout is in use.

    The Trainer asks for batches once a forward pass and counts them to find its place after a resume. So the prompts
    of a rollout come as one batch, repeated for every forward pass that the rollout serves.

    Args:
        num_prompts: rows of the dataset.
        batch_size: prompts a rollout on one process.
        num_processes: processes, each of which takes every `num_processes`-th batch.
        repeats: forward passes that a rollout serves on one process.
        seed: of the order of the prompts, which changes with every epoch.
    """

    def __init__(self, num_prompts: int, *, batch_size: int, num_processes: int, repeats: int, seed: int) -> None:
        self.chunk = batch_size * num_processes
        if num_prompts < self.chunk:
            raise ConfigError(
                f"train_dataset has {num_prompts} prompts, but a rollout samples {self.chunk} at a time; give more "
                "prompts or lower per_device_train_batch_size, gradient_accumulation_steps or num_mini_batches."
            )
        self.num_prompts = num_prompts
        self.repeats = repeats
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the prompts."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(self.num_prompts, generator=generator).tolist()
        for start in range(0, self.num_prompts - self.chunk + 1, self.chunk):
            for _ in range(self.repeats):
                yield from order[start : start + self.chunk]

    def __len__(self) -> int:
        return (self.num_prompts // self.chunk) * self.chunk * self.repeats


def as_they_are(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a batch of rows, which stay dictionaries of text."""
    return rows


def rollout_loader(dataset: Dataset, args: PPOConfig, num_processes: int) -> DataLoader[Any]:
    """Return a loader that yields the prompts of each rollout as one batch, see `RolloutSampler`."""
    sampler = RolloutSampler(
        len(dataset),
        batch_size=args.prompts_per_rollout,
        num_processes=num_processes,
        repeats=args.gradient_accumulation_steps * args.updates_per_rollout,
        seed=args.data_seed if args.data_seed is not None else args.seed,
    )
    return DataLoader(
        dataset,
        batch_size=args.prompts_per_rollout,
        sampler=sampler,
        collate_fn=as_they_are,
    )


def minibatch_rows(
    rows: int, num_mini_batches: int, *, seed: int, process: int = 0, num_processes: int = 1
) -> torch.Tensor:
    """Return which of its rows a process trains on in each mini-batch of one pass over a rollout, (M, rows / M) int64.

    A mini-batch holds the same completions whatever the number of processes: of every M neighbours among the rows of
    all processes, one after the other, each goes to another mini-batch, by chance. So every process finds as many rows
    of its own in each. Rows ascend, so that the completions of a prompt lie side by side.

    Args:
        rows: completions of a rollout on each process, divisible by M.
        num_mini_batches: M.
        seed: of the pass, the same on all processes.
        process: which one this is.
        num_processes: how many there are.
    """
    generator = torch.Generator().manual_seed(seed)
    groups = rows // num_mini_batches
    keys = torch.rand(num_processes * groups, num_mini_batches, dtype=torch.float64, generator=generator)
    mine = keys[process * groups : (process + 1) * groups].argsort(dim=-1)
    return (mine + num_mini_batches * torch.arange(groups).unsqueeze(-1)).T.contiguous()


def minibatch(rollout: RolloutTensors, rows: torch.Tensor, *, samples: int = 1) -> MicroBatch:
    """Return the chosen rows of a rollout, without the columns that are padding in all of them (but see `_widths`).

    Args:
        rollout: of B completions.
        rows: int64, places among them.
        samples: how many of them side by side share a prompt that is computed once for them; 1 for none.
    """
    groups = groups_of(rows.tolist(), samples)
    # Once: every tensor that is picked from would fetch them, and the host wait for it.
    rows = rows.to(rollout.prompt_ids.device)
    prompt, completion = _widths(rollout, rows, all_columns=groups is not None and rows.device.type != "cpu")

    def prompts(tensor: torch.Tensor, chosen: torch.Tensor = rows) -> torch.Tensor:
        return tensor[chosen, tensor.shape[1] - prompt :]

    def completions(tensor: torch.Tensor) -> torch.Tensor:
        return tensor[rows, :completion]

    states = None
    if rollout.prompt_states is not None and rollout.completion_states is not None:
        share = len(rollout.prompt_ids) // len(rollout.prompt_states)
        states = torch.cat(
            [prompts(rollout.prompt_states, rows // share), completions(rollout.completion_states)], dim=1
        )
    chosen = {
        name: (prompts if name.startswith("prompt") else completions)(tensor)
        for name, tensor in rollout.tensors.items()
        if not name.endswith("states")
    }
    return MicroBatch(**chosen, states=states, groups=groups)


def _widths(rollout: RolloutTensors, rows: torch.Tensor, *, all_columns: bool) -> tuple[int, int]:
    """Return the columns of prompts and completions that some rows need.

    Args:
        rollout: the whole one.
        rows: of it.
        all_columns: return how many there are. Where completions lie side by side and the host does not know how long
            each is, fewer columns would put them elsewhere than when they were scored, and so round otherwise.
    """
    if all_columns:
        return rollout.prompt_ids.shape[1], rollout.completion_ids.shape[1]
    masks = (rollout.prompt_mask[rows], rollout.completion_mask[rows])
    prompt, completion = torch.stack([mask.sum(-1).max() for mask in masks]).tolist()
    return prompt, completion
