from __future__ import annotations

import pytest
import torch

from genrlhf.errors import ConfigError
from genrlhf.trainers.ppo.batches import RolloutSampler, minibatch, minibatch_rows
from genrlhf.trainers.ppo.records import RolloutTensors


def test_sampler_repeats_the_prompts_of_a_rollout() -> None:
    sampler = RolloutSampler(10, batch_size=2, num_processes=2, repeats=3, seed=0)
    order = list(sampler)
    assert len(order) == len(sampler) == 24
    chunks = [order[start : start + 4] for start in range(0, 24, 4)]
    assert chunks[0] == chunks[1] == chunks[2]
    assert chunks[3] == chunks[4] == chunks[5]
    assert len({*chunks[0], *chunks[3]}) == 8
    assert {*chunks[0], *chunks[3]} <= set(range(10))


def test_sampler_order_changes_with_epoch_and_seed_only() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = RolloutSampler(50, batch_size=50, num_processes=1, repeats=1, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(5, 0)
    assert sorted(order(0, 1)) == list(range(50))


def test_sampler_wants_prompts_for_one_rollout() -> None:
    with pytest.raises(ConfigError, match="train_dataset has 7 prompts, but a rollout samples 8 at a time"):
        RolloutSampler(7, batch_size=4, num_processes=2, repeats=1, seed=0)


@pytest.mark.parametrize("num_mini_batches", [1, 2, 3])
@pytest.mark.parametrize("num_processes", [2, 4])
def test_mini_batches_hold_the_same_rows_on_any_number_of_processes(num_mini_batches: int, num_processes: int) -> None:
    total = 4 * num_mini_batches * num_processes
    alone = minibatch_rows(total, num_mini_batches, seed=7)
    assert sorted(alone.flatten().tolist()) == list(range(total))
    held: list[set[int]] = [set() for _ in range(num_mini_batches)]
    for process in range(num_processes):
        rows = total // num_processes
        mine = minibatch_rows(rows, num_mini_batches, seed=7, process=process, num_processes=num_processes)
        assert mine.shape == (num_mini_batches, rows // num_mini_batches)
        for number, part in enumerate(mine):
            held[number] |= {process * rows + row for row in part.tolist()}
    assert held == [set(part.tolist()) for part in alone]


def test_mini_batches_are_dealt_out_by_chance() -> None:
    first = torch.stack([minibatch_rows(6, 3, seed=seed)[0] for seed in range(600)])
    counts = torch.bincount(first.flatten(), minlength=6)
    # Each row is in the first mini-batch with probability 1/3: 200 of 600, deviation 11.5.
    assert (counts - 200).abs().max() < 50
    assert len(torch.unique(first, dim=0)) == 9


def rollout() -> RolloutTensors:
    numbers = torch.arange(9.0).reshape(3, 3)
    return RolloutTensors(
        prompt_ids=torch.tensor([[0, 0, 1], [2, 3, 4], [0, 5, 6]]),
        prompt_mask=torch.tensor([[False, False, True], [True, True, True], [False, True, True]]),
        completion_ids=torch.tensor([[1, 2, 0], [3, 4, 5], [6, 0, 0]]),
        completion_mask=torch.tensor([[True, True, False], [True, True, True], [True, False, False]]),
        logprobs=numbers,
        values=numbers + 10,
        advantages=numbers + 20,
        returns=numbers + 30,
        ref_logprobs=numbers + 40,
    )


def test_minibatch_drops_common_padding() -> None:
    batch = minibatch(rollout(), torch.tensor([2, 0]))
    assert batch.prompt_ids.tolist() == [[5, 6], [0, 1]]
    assert batch.prompt_mask.tolist() == [[True, True], [False, True]]
    assert batch.completion_ids.tolist() == [[6, 0], [1, 2]]
    assert batch.completion_mask.tolist() == [[True, False], [True, True]]
    assert batch.logprobs.tolist() == [[6, 7], [0, 1]]
    assert batch.returns.tolist() == [[36, 37], [30, 31]]
