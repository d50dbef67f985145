"""Weights that are no numbers any more are not trained on, nor saved."""

from __future__ import annotations

from typing import Any

import torch

from genrlhf.errors import ModelError

__all__ = ["refuse_unless_finite"]


def refuse_unless_finite(model: torch.nn.Module, step: int) -> None:
    """Raise `ModelError` where a weight that is trained is NaN or infinite; the host waits once for the answer.

    Args:
        model: of which this process may hold a part.
        step: optimizer steps so far, for the message.
    """
    trained = {name: _here(each) for name, each in model.named_parameters() if each.requires_grad}
    trained = {name: part for name, part in trained.items() if part.numel() and part.is_floating_point()}
    # Sums take no memory, and those of finite weights are finite.
    sums = [part.sum(dtype=torch.float32 if part.device.type == "mps" else torch.float64) for part in trained.values()]
    fine = torch.stack([each.to(sums[0].device) for each in sums]).isfinite().tolist() if sums else []
    bad = [name for name, is_fine in zip(trained, fine, strict=True) if not is_fine]
    if bad:
        raise ModelError(
            f"After {step} steps {len(bad)} of {len(trained)} weights hold NaN or infinity, {bad[0]} first; they are "
            "not saved, and checkpoints from before are whole. Lower learning_rate, set max_grad_norm, or take bf16 in "
            "place of fp16; torch.autograd.set_detect_anomaly(True) names the operation that a NaN came from."
        )


def _here(parameter: Any) -> torch.Tensor:
    """Return what this process holds of a parameter."""
    part: torch.Tensor = getattr(parameter, "_local_tensor", parameter).detach()
    return part
