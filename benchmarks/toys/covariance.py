"""KL-Cov slows the loss of diversity where a rollout serves several updates; Clip-Cov does not.

Twelve right answers and twelve wrong ones, one token each; 300 rollouts of four updates each with the advantages of
GRPO. Figures: the share that is right, and how many right answers there are in effect.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from benchmarks.toys._bandit import toy_o
from benchmarks.toys._bar import Claim, Figures

from genrlhf.ops import clip_cov_loss, clipped_policy_loss, grpo_advantages, kl_cov_loss

BAR = (
    Claim("answers", "KL-Cov, share .2", "PPO", at_least=4.0),
    Claim("valid", "KL-Cov, share .2", at_least=0.99),
)
SMALL = {"rollouts": 300, "arms": ("PPO", "KL-Cov, share .2")}


def _kl_cov(share: float) -> Callable[..., torch.Tensor]:
    return lambda new, old, gains: kl_cov_loss(new, old, gains, _all(new), share=share, coef=1.0)


def _clip_cov(share: float) -> Callable[..., torch.Tensor]:
    options = {"share": share, "low": 1.0, "high": 5.0, "clip_range": 0.2}
    return lambda new, old, gains: clip_cov_loss(new, old, gains, _all(new), **options).loss


def _all(values: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(values, dtype=torch.bool)


LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "PPO": lambda new, old, gains: clipped_policy_loss(new, old, gains, clip_range=0.2).loss,
    "PPO, clip-higher .28": lambda new, old, gains: (
        clipped_policy_loss(new, old, gains, clip_range=0.2, clip_range_high=0.28).loss
    ),
    "not clipped": _kl_cov(0.0),
    "KL-Cov, share .02": _kl_cov(0.02),
    "KL-Cov, share .2": _kl_cov(0.2),
    "KL-Cov, share 1": _kl_cov(1.0),
    "Clip-Cov, share .02": _clip_cov(0.02),
    "Clip-Cov, share .2": _clip_cov(0.2),
}
BONUS = "PPO, entropy bonus .01"
ARMS = (*LOSSES, BONUS)


def run(seed: int, *, rollouts: int = 300, arms: tuple[str, ...] = ARMS) -> Figures:
    """Return what is written by each arm."""
    bandit = toy_o()
    torch.manual_seed(seed)

    def fit(arm: str) -> torch.Tensor:
        return bandit.train(
            seed,
            lambda drawn, logp: grpo_advantages(bandit.rewards[drawn]),
            steps=rollouts,
            loss=LOSSES["PPO" if arm == BONUS else arm],
            updates=4,
            entropy_bonus=0.01 if arm == BONUS else 0.0,
        )

    found = {"base": bandit.base, **{arm: fit(arm) for arm in arms}}
    return {arm: {name: bandit.figures(z)[name] for name in ("valid", "answers")} for arm, z in found.items()}
