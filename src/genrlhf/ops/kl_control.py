"""A KL coefficient that follows the divergence."""

from __future__ import annotations

from genrlhf.errors import ConfigError

__all__ = ["adaptive_kl_coef"]


def adaptive_kl_coef(coef: float, kl: float, *, target: float, horizon: float, num_samples: int) -> float:
    """Return the KL coefficient for the next rollout, raised where the KL is above its target and lowered below it.

    Ziegler et al. 2019, "Fine-Tuning Language Models from Human Preferences", section 2.2, a proportional controller in
    log space::

        e = clip(KL / target − 1, −0.2, 0.2),    β ← β (1 + e · samples / horizon)

    Args:
        coef: β so far.
        kl: mean KL of a completion in the last rollout, in nats, summed over its tokens.
        target: the KL to hold, in nats a completion.
        horizon: completions over which β may change by a factor of about e^0.2.
        num_samples: completions in the rollout, over all processes.

    Example:
        >>> round(adaptive_kl_coef(0.1, kl=12.0, target=6.0, horizon=1000, num_samples=100), 6)
        0.102
    """
    for name, value in (("target", target), ("horizon", horizon)):
        if not value > 0:
            raise ConfigError(f"{name} must be above 0, not {value}.")
    error = min(max(kl / target - 1, -0.2), 0.2)
    return coef * (1 + error * num_samples / horizon)
