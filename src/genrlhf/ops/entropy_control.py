"""A weight of the entropy bonus that follows the entropy."""

from __future__ import annotations

__all__ = ["adaptive_entropy_coef"]


def adaptive_entropy_coef(coef: float, entropy: float, *, target: float, step: float) -> float:
    """Return the weight for the next rollout: `step` more where the entropy is below its target, else less.

    It stays within 0 and 1. An integral controller as TRL 1.16 has one for GRPO: the weight grows as long as the
    entropy is too low, so that a large step swings.

    Args:
        coef: the weight so far.
        entropy: mean entropy of a token in the last rollout, in nats.
        target: the entropy to hold, in nats a token.
        step: by how much the weight moves.

    Example:
        >>> adaptive_entropy_coef(0.01, 0.5, target=1.0, step=0.005)
        0.015
    """
    return min(max(coef + (step if entropy < target else -step), 0.0), 1.0)
