"""Where PPO makes the host wait for a GPU."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch

from genrlhf.models.policy import CompletionOutput
from genrlhf.trainers import PPOConfig
from genrlhf.trainers.ppo.loss import PPOLoss
from genrlhf.trainers.ppo.phases import Phases
from genrlhf.trainers.ppo.report import RunHealth
from genrlhf.trainers.ppo.state import PPOState
from genrlhf.trainers.tally import Tally
from tests.host_waits import count_waits


class Event:
    """A CUDA event on a GPU that gets to everything three seconds late."""

    waited = 0

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        self.at = time.perf_counter() + 3

    def synchronize(self) -> None:
        Event.waited += 1

    def elapsed_time(self, end: Event) -> float:
        return (end.at - self.at) * 1000


def test_a_phase_is_timed_on_the_gpu_without_waiting_for_it() -> None:
    tally = Tally()
    phases = Phases(SimpleNamespace(callbacks=[]), tally)  # type: ignore[arg-type]
    with patch.object(torch.cuda, "is_initialized", lambda: True), patch.object(torch.cuda, "Event", Event):
        start = time.perf_counter()
        with phases("sampling"):
            time.sleep(0.05)
        assert Event.waited == 0
        took = time.perf_counter() - start
        assert 0.05 <= tally.figures(lambda tensor: tensor)["time/sampling"] <= took
    assert Event.waited == 1


def test_neither_loss_nor_its_figures_wait(tmp_path: Any) -> None:
    args = PPOConfig(str(tmp_path), use_cpu=True, early_stop_kl=0.1, entropy_coef=0.1)
    health = RunHealth(low_precision=False)
    tally = Tally()
    loss = PPOLoss(args, PPOState(kl_coef=0.1), tally, health, first_update=True)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    values = {name: torch.rand(2, 3) for name in ("logprobs", "values", "advantages", "returns", "ref_logprobs")}
    batch: Any = SimpleNamespace(**values, completion_mask=mask)
    output = CompletionOutput(values["logprobs"] + 0.5, values["values"], torch.rand(2, 3), None)
    assert count_waits(lambda: loss(output, batch)) == {}
    with patch.object(health, "first_ratio") as first_ratio:
        loss.judge_first_ratios()
        loss.judge_first_ratios()
    (call,) = first_ratio.call_args_list
    assert abs(call.args[0] - (2.718281828**0.5 - 1)) < 1e-5
    total, count = loss.update_kl.tolist()
    assert count == 3
    assert abs(total - 3 * (2.718281828**0.5 - 1 - 0.5)) < 1e-5
    # All figures are fetched at once.
    assert count_waits(lambda: tally.figures(lambda tensor: tensor)).total() <= 1
