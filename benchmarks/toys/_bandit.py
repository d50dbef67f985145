"""Policies of one prompt whose completions are one token, so that what a method aims at is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

__all__ = ["Bandit", "effective", "toy_o", "toy_p"]

GROUPS, SAMPLES = 16, 8


@dataclass(frozen=True)
class Bandit:
    """What may be written, and what the base writes.

    Attributes:
        texts: of each token.
        answers: (tokens,) int64, which answer a token spells.
        valid: (tokens,) bool.
        base: (tokens,) logits of the base, which is the reference too.
    """

    texts: Sequence[str]
    answers: torch.Tensor
    valid: torch.Tensor
    base: torch.Tensor
    rewards: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rewards", self.valid.float())

    def figures(self, logits: torch.Tensor) -> dict[str, float]:
        """Return the share that is valid, and how many valid answers and texts there are in effect."""
        p = logits.softmax(-1)[self.valid]
        answers = torch.zeros(int(self.answers.max()) + 1).index_add(0, self.answers[self.valid], p)
        return {"valid": float(p.sum()), "answers": effective(answers), "texts": effective(p)}

    def train(
        self,
        seed: int,
        advantages: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        *,
        steps: int,
        entropy_bonus: float = 0.0,
        loss: Callable[..., torch.Tensor] | None = None,
        updates: int = 1,
    ) -> torch.Tensor:
        """Return the logits after policy gradient from 16 groups of 8 samples a step, by Adam at 0.05.

        Args:
            seed: of the samples.
            advantages: of the tokens drawn, (16, 8), and the policy's log-probabilities of all.
            steps: rollouts.
            entropy_bonus: weight of the entropy.
            loss: of log-probabilities, those when sampled and advantages, (128,) each; by default −A ρ.
            updates: of each rollout.
        """
        generator = torch.Generator().manual_seed(seed)
        logits = self.base.clone().requires_grad_()
        optimizer = torch.optim.Adam([logits], lr=0.05)
        for _ in range(steps):
            old = logits.detach().log_softmax(-1)
            drawn = torch.multinomial(old.exp(), GROUPS * SAMPLES, replacement=True, generator=generator)
            gains = advantages(drawn.view(GROUPS, SAMPLES), old).flatten().float()
            for _ in range(updates):
                logp = logits.log_softmax(-1)
                new, before = logp[drawn], old[drawn]
                terms = -gains * (new - before).exp() if loss is None else loss(new, before, gains)
                entropy = -(logp.exp() * logp).sum()
                optimizer.zero_grad()
                (terms.mean() - entropy_bonus * entropy).backward()
                optimizer.step()
        return logits.detach()

    def written(self, drawn: torch.Tensor) -> list[list[str]]:
        """Return the texts of tokens, (G, n)."""
        return [[self.texts[token] for token in group] for group in drawn.tolist()]


def effective(weights: torch.Tensor) -> float:
    """Return the exponential of the entropy of weights, which are scaled to a sum of 1."""
    p = weights / weights.sum()
    return float(torch.special.entr(p).sum().exp())


def toy_o() -> Bandit:
    """Twelve valid answers and twelve invalid ones, each one text, less likely the later and the invalid by 0.3."""
    places = torch.arange(12.0)
    return Bandit(
        texts=[f"{kind}{i}" for kind in ("right", "wrong") for i in range(12)],
        answers=torch.arange(24),
        valid=torch.arange(24) < 12,
        base=torch.cat([-0.5 * places, -0.5 * places - 0.3]),
    )


SPELLINGS = (1, 1, 1, 1, 2, 2, 4, 4, 8, 16, 32, 48)


def toy_p() -> Bandit:
    """The same with answers of e^−0.3i, the rare ones of which have up to 48 equally likely spellings."""
    kinds = [(kind, i, k) for kind in (0, 1) for i, count in enumerate(SPELLINGS) for k in range(count)]
    return Bandit(
        texts=[f"{('right', 'wrong')[kind]}{i} {k}" for kind, i, k in kinds],
        answers=torch.tensor([12 * kind + i for kind, i, _ in kinds]),
        valid=torch.tensor([kind == 0 for kind, _, _ in kinds]),
        base=torch.tensor([-0.3 * i for _, i, _ in kinds]) - torch.tensor([SPELLINGS[i] for _, i, _ in kinds]).log(),
    )
