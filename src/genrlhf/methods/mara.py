"""MARA: above a threshold of the reward, what the KL penalty asks for is taken back: all good texts are equal."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from genrlhf.errors import ConfigError
from genrlhf.methods.method import Method
from genrlhf.ops import anchored_rewards

if TYPE_CHECKING:
    from genrlhf.trainers import PPOConfig
    from genrlhf.trainers.ppo.rollout_record import Rollout

__all__ = ["MARA", "METHOD"]


@dataclass
class MARA:
    """Shapes rewards: r(z) + β (log π_ref(z) − log π_ref(y)) for completions y with r(y) ≥ τ.

    GX-Chen et al. 2025 (arXiv 2510.20817), see `genrlhf.ops.anchored_rewards`. The optimum under a KL penalty of
    coefficient β gives all such y the same probability, whatever the reference says. z, the anchor, is the likeliest of
    them under the reference, among the completions of a prompt that were seen so far; a checkpoint keeps them.

    Args:
        threshold: τ, such as the 1 of a verifier.
        max_nats: log π_ref(z) − log π_ref(y) counts up to this; None for no limit. A limit gives back some of what the
            reference prefers.

    Raises:
        ConfigError: for a threshold that is not finite, or a limit that is not above 0.
    """

    threshold: float = field(default=1.0, metadata={"help": "The reward from which all completions are equal."})
    max_nats: float | None = field(default=None, metadata={"help": "The most that is taken back, in nats."})

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold):
            raise ConfigError(f"threshold is {self.threshold}; it must be finite.")
        if self.max_nats is not None and not self.max_nats > 0:
            raise ConfigError(f"max_nats is {self.max_nats}; it must be above 0, or None.")
        self._anchors: dict[str, tuple[float, float]] = {}

    def check_args(self, args: PPOConfig) -> None:
        """Raise `ConfigError` for settings under which the shaping means something else."""
        if args.kl_coef == 0:
            raise ConfigError(
                "MARA takes back what a KL penalty asks for, and kl_coef is 0: it would be an unbounded bonus for "
                "unlikely texts. Set kl_coef, such as 0.05."
            )
        for setting in ("scale_scores", "whiten_rewards"):
            if getattr(args, setting):
                raise ConfigError(f"MARA weighs rewards by kl_coef, and {setting}=True rescales them; switch it off.")

    def __call__(
        self, prompts: Sequence[Any], rewards: torch.Tensor, ref_logprobs: torch.Tensor, kl_coef: float
    ) -> torch.Tensor:
        """Return the rewards that take their place, (G, n)."""
        known = [self._anchors.get(_key(prompt), (0.0, -math.inf)) for prompt in prompts]
        anchors = rewards.new_tensor(known)
        options: dict[str, Any] = {"threshold": self.threshold, "kl_coef": kl_coef, "max_nats": self.max_nats}
        return anchored_rewards(rewards, ref_logprobs, anchors, **options)

    def update(self, rollout: Rollout) -> None:
        """Remember the likeliest of the good completions of each prompt."""
        # What is shaped stays at or above τ, what is below stays as it is, and an anchor keeps its own reward.
        good = rollout.shaped_scores >= self.threshold
        logprobs = rollout.ref_logprobs.sum(-1)
        for row in good.nonzero().squeeze(-1).tolist():
            key, likely = _key(rollout.prompts[row]), float(logprobs[row])
            if likely > self._anchors.get(key, (0.0, -math.inf))[1]:
                self._anchors[key] = (float(rollout.shaped_scores[row]), likely)

    def state_dict(self) -> dict[str, Any]:
        """Return the anchors of prompts: reward, and log-probability under the reference."""
        return {"anchors": {key: list(anchor) for key, anchor in self._anchors.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self._anchors = {key: (anchor[0], anchor[1]) for key, anchor in state["anchors"].items()}


def _key(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else json.dumps(prompt, sort_keys=True)


METHOD = Method(
    name="mara",
    label="MARA",
    paper="GX-Chen et al. 2025, arXiv 2510.20817",
    loop="rollout",
    needs=("prompts", "reward"),
    recipe={"advantage": "dr_grpo", "samples_per_prompt": 8},
    settings="genrlhf.methods.mara:MARA",
    argument="shape_reward",
)
