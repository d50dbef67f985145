"""Which of torch's attention kernels training can rely on."""

from __future__ import annotations

import logging

import torch

__all__ = ["leave_out_cudnn_attention"]

logger = logging.getLogger(__name__)


def leave_out_cudnn_attention() -> None:
    """Have this process compute attention on a GPU without cuDNN, by the other kernels of torch.

    cuDNN's backward pass returns NaN for texts of a width of 64 modulo 128 with padding, where a position attends to
    nothing with a score above −88 (https://github.com/pytorch/pytorch/issues/196678): one such batch, and every weight
    is NaN. torch prefers it on Hopper from 2.11 on. Results are the same up to rounding; whoever has a cuDNN without
    the fault can switch it on again by `torch.backends.cuda.enable_cudnn_sdp(True)` once the trainer has been made.
    """
    kernels = torch.backends.cuda
    if torch.cuda.is_available() and hasattr(kernels, "cudnn_sdp_enabled") and kernels.cudnn_sdp_enabled():
        logger.info("Attention is computed without cuDNN, whose backward pass can return NaN.")
        kernels.enable_cudnn_sdp(False)
