"""Functions in place of PPO's loss of the policy, and what shapes rewards last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig

from genrlhf.errors import ConfigError, DataError, RewardError, ShapeError
from genrlhf.ops import clipped_policy_loss
from genrlhf.trainers import PPOTrainer
from tests.helpers import tiny_llama
from tests.trainers.runs import interrupted_and_whole, largest_difference, logged, ppo_trainer, prompt_rows, weights

LORA = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"])


def clipped(logprobs: Any, old_logprobs: Any, advantages: Any, mask: Any) -> Any:
    return clipped_policy_loss(logprobs, old_logprobs, advantages, clip_range=0.2)


def kl_cov(logprobs: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Cui et al. 2025 (arXiv 2505.22617), equation of KL-Cov, on a tenth of the tokens."""
    new = logprobs.detach()
    centred = [each - each[mask].mean() for each in (advantages, new)]
    cov = (centred[0] * centred[1]).masked_fill(~mask, -torch.inf).flatten()
    chosen = torch.zeros_like(cov, dtype=torch.bool)
    chosen[cov.topk(max(1, int(mask.sum()) // 10)).indices] = True
    plain = -advantages * (logprobs - old).exp()
    return plain + torch.where(chosen.view_as(mask), (logprobs - old).abs(), 0.0)


@pytest.mark.parametrize("options", [{}, {"peft_config": LORA}, {"freeze_layers": 0.5}, {"advantage": "grpo"}])
def test_the_clipped_loss_given_as_a_function_is_the_default(options: dict[str, Any], tmp_path: Path) -> None:
    given: dict[str, Any] = {"samples_per_prompt": 2, "gradient_accumulation_steps": 2, "num_ppo_epochs": 3, **options}
    runs = [ppo_trainer(tmp_path / str(bool(loss)), policy_loss=loss, **given) for loss in (None, clipped)]
    for run in runs:
        run.train()
    assert largest_difference(*(weights(run.model) for run in runs)) == 0
    assert logged(runs[0], "policy/clip_fraction") == logged(runs[1], "policy/clip_fraction")


def test_another_loss_trains_and_resumes(tmp_path: Path) -> None:
    def drawn(logprobs: Any, old: Any, advantages: Any, mask: Any) -> Any:
        """Drops tokens by chance, as Clip-Cov does: torch's random numbers are resumed with the run."""
        kept = torch.rand(mask.shape) < 0.9
        return kl_cov(logprobs, old, advantages, mask) * kept

    def make(folder: Path, callbacks: Any) -> PPOTrainer:
        saving = {"save_strategy": "steps", "save_steps": 1}
        return ppo_trainer(folder, policy_loss=drawn, callbacks=callbacks, num_mini_batches=2, **saving)

    resumed, whole = interrupted_and_whole(make, tmp_path, 3)
    assert largest_difference(weights(resumed.model), weights(whole.model)) == 0
    plain = ppo_trainer(tmp_path / "plain", num_mini_batches=2)
    plain.train()
    assert largest_difference(weights(plain.model), weights(whole.model)) > 0


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (lambda new, old, a, mask: new.sum(), ShapeError, r"policy_loss returned \(\); want \(16, \d\)"),
        (lambda new, old, a, mask: None, ShapeError, "policy_loss returned NoneType"),
        (lambda new, old, a, mask: a * 0, ConfigError, "without a gradient"),
        (lambda new, old, a, mask: new / 0, DataError, "returned -inf for a token of log-probability"),
    ],
)
def test_what_a_loss_may_not_return(function: Any, error: type[Exception], words: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=words):
        ppo_trainer(tmp_path, policy_loss=function).train()


def test_what_stands_behind_the_end_of_a_completion_does_not_count(tmp_path: Path) -> None:
    def wild_behind(new: Any, old: Any, a: Any, mask: Any) -> Any:
        return clipped(new, old, a, mask).loss / mask  # and so is its gradient

    runs = [
        ppo_trainer(tmp_path / str(bool(loss)), policy_loss=loss, max_new_tokens=20, stop=["e", "a"])
        for loss in (None, wild_behind)
    ]
    for run in runs:
        run.train()
    assert largest_difference(*(weights(run.model) for run in runs)) == 0


def mara(prompts: Any, completions: Any, rewards: torch.Tensor, ref_logprobs: torch.Tensor, kl_coef: float) -> Any:
    """GX-Chen et al. 2025 (arXiv 2510.20817): above a threshold, the reference is cancelled."""
    good = rewards >= 1.0
    anchor = ref_logprobs.masked_fill(~good, -torch.inf).argmax(-1, keepdim=True)
    best, likely = rewards.gather(-1, anchor), ref_logprobs.gather(-1, anchor)
    return torch.where(good, best + kl_coef * (likely - ref_logprobs), rewards)


def long_enough(prompts: Any, completions: Any) -> list[float]:
    return [float(len(text) > 4) for text in completions]


def test_shaping_sees_log_probabilities_and_acts_before_the_kl(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "samples_per_prompt": 4,
        "advantage": "dr_grpo",
        "kl_coef": 0.3,
        "reward": long_enough,
        "ref_model": tiny_llama(seed=3),
        "max_new_tokens": 20,
        "stop": ["e", "a", "i"],
    }
    trainer = ppo_trainer(tmp_path, shape_reward=mara, **settings)
    tensors, scored = trainer.collector.collect(list(prompt_rows(4)), list(range(16)))
    mask = scored.completion_mask
    expected = []
    reference = (scored.ref_logprobs * mask).sum(-1).tolist()
    scores = scored.scores.tolist()
    assert 0 < sum(scores) < 16
    for first in range(0, 16, 4):
        rows = range(first, first + 4)
        good = [row for row in rows if scores[row] >= 1]
        likely = max((reference[row] for row in good), default=0.0)
        shaped = [scores[row] + (0.3 * (likely - reference[row]) if row in good else 0.0) for row in rows]
        paid = [value - 0.3 * float(scored.kl[row].sum()) for value, row in zip(shaped, rows, strict=True)]
        expected += [value - sum(paid) / 4 for value in paid]
    assert (tensors.advantages - torch.tensor(expected).unsqueeze(-1) * mask).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"shape_reward": mara}, ConfigError, "shape_reward=mara .* samples_per_prompt is 1"),
        (
            {"shape_reward": lambda prompts, completions, values: 0, "samples_per_prompt": 2},
            RewardError,
            "wants 'values'",
        ),
        ({"shape_reward": "mara", "samples_per_prompt": 2}, ConfigError, "shape_reward is 'mara'; give a function"),
        (
            {"policy_loss": lambda new, old: new},
            ConfigError,
            r"policy_loss is called with \(logprobs, old_logprobs, adv",
        ),
        ({"policy_loss": "ppo"}, ConfigError, "policy_loss is 'ppo'; give a function of logprobs"),
    ],
)
def test_refused_before_the_work(options: dict[str, Any], error: type[Exception], words: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=words):
        ppo_trainer(tmp_path, **options)
