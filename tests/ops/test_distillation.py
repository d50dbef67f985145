from __future__ import annotations

import pytest
import torch

from genrlhf.errors import ShapeError
from genrlhf.ops import forward_kl, forward_kl_top_k


def logits(seed: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    teacher, student = torch.randn(2, 5, 11, generator=generator, dtype=dtype).mul(2).unbind()
    return teacher, student.requires_grad_()


def test_the_kl_is_a_sum_over_the_vocabulary_with_gradient_q_minus_p() -> None:
    teacher, student = logits(0)
    p, q = teacher.softmax(-1), student.detach().softmax(-1)
    by_hand = [sum(float(p[n, v] * (p[n, v] / q[n, v]).log()) for v in range(11)) for n in range(5)]
    found = forward_kl(teacher, student)
    assert found.tolist() == pytest.approx(by_hand, abs=1e-6)
    (gradient,) = torch.autograd.grad(found.sum(), student)
    assert torch.allclose(gradient, q - p, atol=1e-6)


def test_a_teacher_of_one_token_is_the_cross_entropy() -> None:
    _, student = logits(1)
    labels = torch.tensor([0, 10, 3, 3, 7])
    teacher = torch.full((5, 11), -1e9).scatter(1, labels.unsqueeze(1), 0.0)
    expected = torch.nn.functional.cross_entropy(student, labels, reduction="none")
    assert torch.allclose(forward_kl(teacher, student), expected, atol=1e-6)


def test_the_likeliest_and_one_class_of_the_others() -> None:
    teacher, student = logits(2)
    whole = forward_kl(teacher, student)
    for k in range(1, 11):
        top = teacher.topk(k).indices
        p, q = teacher.softmax(-1), student.softmax(-1)
        a, b = p.gather(-1, top), q.gather(-1, top)
        tail = (1 - a.sum(-1)) * ((1 - a.sum(-1)) / (1 - b.sum(-1))).log()
        found = forward_kl_top_k(teacher, student, k)
        assert torch.allclose(found, (a * (a / b).log()).sum(-1) + tail, atol=1e-5)
        # Joining classes loses what tells them apart.
        assert (found <= whole + 1e-6).all() and (found >= -1e-6).all()
    for k in (11, 50):
        assert torch.equal(forward_kl_top_k(teacher, student, k), whole)


def test_a_tail_without_mass_is_finite() -> None:
    teacher = torch.tensor([[60.0, 0.0, 0.0]])
    student = torch.zeros(1, 3, requires_grad=True)
    found = forward_kl_top_k(teacher, student, 1)
    assert found.tolist() == pytest.approx([torch.tensor(3.0).log().item()], abs=1e-6)
    found.sum().backward()
    assert student.grad is not None and student.grad.isfinite().all()


def test_another_vocabulary() -> None:
    with pytest.raises(ShapeError):
        forward_kl(torch.zeros(2, 3), torch.zeros(2, 4))
