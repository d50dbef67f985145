"""How far a student's distribution of the next token is from a teacher's."""

from __future__ import annotations

import torch

from genrlhf.ops._checks import check_same_shape

__all__ = ["forward_kl", "forward_kl_top_k"]


def forward_kl(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """Return KL(p ‖ q) = Σ_v p(v) (log p(v) − log q(v)) in nats, (N,) float32; its gradient in q's logits is q − p.

    Args:
        teacher: logits of p, (N, V), detached.
        student: logits of q, (N, V).

    Raises:
        ShapeError: for two shapes.

    Example:
        >>> import torch
        >>> forward_kl(torch.zeros(1, 4), torch.zeros(1, 4))
        tensor([0.])
    """
    check_same_shape(teacher=teacher, student=student)
    p, q = teacher.detach().float().log_softmax(-1), student.float().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


def forward_kl_top_k(teacher: torch.Tensor, student: torch.Tensor, k: int) -> torch.Tensor:
    """Return the KL of the k tokens that are likeliest to the teacher, and of one class of all others, (N,) float32.

    Without the class of the others it would be no KL: mass that the student puts there would cost nothing. It is at
    most the KL of the whole vocabulary, and equal to it where k is V.

    Args:
        teacher: logits of p, (N, V), detached.
        student: logits of q, (N, V).
        k: at least 1.

    Raises:
        ShapeError: for two shapes.
    """
    check_same_shape(teacher=teacher, student=student)
    if k >= teacher.shape[-1]:
        return forward_kl(teacher, student)
    p, q = teacher.detach().float().log_softmax(-1), student.float().log_softmax(-1)
    top = p.topk(k, -1).indices
    classes = []
    for logp in (p, q):
        # Summed, and not 1 less the others: that would be nothing but rounding where the tail is small.
        tail = logp.scatter(-1, top, float("-inf")).logsumexp(-1, keepdim=True)
        classes.append(torch.cat([logp.gather(-1, top), tail], -1))
    p, q = classes
    return (p.exp() * (p - q)).sum(-1)
