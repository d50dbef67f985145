"""A discriminator's reward makes a policy valid that its own factors cannot, and takes modes away.

Demonstrations are two equal digits; the policy draws both digits by themselves, so that imitation by likelihood ends
at a valid share of 0.1, with all ten digits. The discriminator is a table of both digits.
"""

from __future__ import annotations

import torch
from benchmarks.toys._bar import Claim, Figures

from genrlhf.rewards.adversarial import discriminator_loss

CLIP, BATCH = 2.0, 256
BAR = (Claim("valid", "adversarial", "SFT", at_least=0.4),)
SMALL = {"steps": 600}


def run(seed: int, *, steps: int = 1500) -> Figures:
    """Return the share of equal digits, and the mean entropy of a digit in nats, of each arm."""
    uniform = torch.zeros(2, 10)
    return {
        "SFT": _figures(uniform),
        "adversarial": _figures(_imitate(seed, steps, bonus=0.0)),
        "adversarial, entropy bonus .1": _figures(_imitate(seed, steps, bonus=0.1)),
        "one digit": _figures(uniform - 50 * (torch.arange(10) > 0)),
    }


def _imitate(seed: int, steps: int, *, bonus: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    policy, table = torch.zeros(2, 10, requires_grad=True), torch.zeros(10, 10, requires_grad=True)
    moves, learns = torch.optim.Adam([policy], lr=0.02), torch.optim.Adam([table], lr=0.02)
    for _ in range(steps):
        logp = policy.log_softmax(-1)
        first, second = torch.multinomial(logp.detach().exp(), BATCH, replacement=True, generator=generator)
        digit = torch.randint(10, (BATCH,), generator=generator)
        fake, real = table[first, second], table[digit, digit]
        rewards = (fake - real).detach().clamp(-CLIP, CLIP)
        loss = discriminator_loss(real, fake).mean()
        learns.zero_grad()
        loss.backward()
        learns.step()
        gains = rewards - rewards.mean()
        drawn = logp[0, first] + logp[1, second]
        entropy = torch.special.entr(logp.exp()).sum()
        moves.zero_grad()
        (-(gains * drawn).mean() - bonus * entropy).backward()
        moves.step()
    return policy.detach()


def _figures(policy: torch.Tensor) -> dict[str, float]:
    p = policy.softmax(-1)
    return {"valid": float((p[0] * p[1]).sum()), "entropy of a digit": float(torch.special.entr(p).sum(-1).mean())}
