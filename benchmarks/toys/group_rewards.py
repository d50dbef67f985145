"""Rewards of a group make answers equally likely; an entropy bonus does that to spellings.

Twelve right answers of up to 48 spellings each, 120 in all, and as many wrong ones, one token each; policy gradient of
1,500 steps with the advantages of Dr. GRPO. Figures: the share that is right, and how many right answers, and texts,
there are in effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from benchmarks.toys._bandit import toy_p
from benchmarks.toys._bar import Claim, Figures

from genrlhf.methods import DQO, Darling, Frequency, Uniqueness
from genrlhf.ops import dr_grpo_advantages

RIVALS = ("Dr. GRPO", "entropy bonus .05", "entropy bonus .02")
BAR = (
    *(Claim("answers", arm, rival, at_least=11.5) for arm in ("DARLING", "shared rewards") for rival in RIVALS),
    *(Claim("valid", arm, at_least=0.99) for arm in ("DARLING", "shared rewards")),
)
SMALL = {"steps": 1100, "arms": ("Dr. GRPO", "DARLING", "shared rewards", "entropy bonus .05", "entropy bonus .02")}


def by_answer(sets: Sequence[Sequence[str]]) -> list[list[str]]:
    """The answer that a text spells."""
    return [[text.split()[0] for text in texts] for texts in sets]


def one_hot(texts: list[str]) -> torch.Tensor:
    """An encoder that knows answers and no spellings."""
    places = {f"{kind}{i}": 12 * number + i for number, kind in enumerate(("right", "wrong")) for i in range(12)}
    return torch.eye(24)[[places[text.split()[0]] for text in texts]].numpy()


GROUP_REWARDS = {
    "DARLING": Darling(classes=by_answer),  # type: ignore[arg-type]
    "shared rewards": Frequency(classes=by_answer),  # type: ignore[arg-type]
    "DQO, α .3": DQO(0.3, one_hot),
}
BONUS = {"entropy bonus .05": 0.05, "entropy bonus .02": 0.02}
ARMS = ("Dr. GRPO", *BONUS, *GROUP_REWARDS, "uniqueness")


def run(seed: int, *, steps: int = 1500, arms: Sequence[str] = ARMS) -> Figures:
    """Return what is written by each arm, and by the base."""
    bandit = toy_p()
    unique = Uniqueness(classes=by_answer)  # type: ignore[arg-type]

    def fit(arm: str) -> torch.Tensor:
        def advantages(drawn: torch.Tensor, logp: torch.Tensor) -> Any:
            rewards = bandit.rewards[drawn]
            if arm == "uniqueness":
                return unique(rewards, bandit.written(drawn))
            if arm in GROUP_REWARDS:
                rewards = GROUP_REWARDS[arm](bandit.written(drawn), rewards)
            return dr_grpo_advantages(rewards)

        return bandit.train(seed, advantages, steps=steps, entropy_bonus=BONUS.get(arm, 0.0))

    return {"base": bandit.figures(bandit.base), **{arm: bandit.figures(fit(arm)) for arm in arms}}
