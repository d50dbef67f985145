"""Our formulas against one step of TRL 1.10's PPO trainer, recorded by `trl_reference/record.py`.

TRL's tensors go through `genrlhf.ops`. Where the two differ on purpose, `converted` has both masks, and each test says
what TRL does and turns the one into the other:

* Where a completion ends in EOS before the last position, TRL appends a step: the value *after* EOS counts, and the
  score is paid there. Its mask of values and rewards is one longer than that of tokens. Ours pays the score on EOS, as
  the last step. Where EOS is the last position or is missing, both pay it on the last token.
* TRL subtracts `missing_eos_penalty` from the score of a completion without EOS; ours replaces the score.
* TRL divides the value loss by the number of positions of the longer mask; ours divides both losses by that of tokens.
* TRL fills the log-probabilities of padding with 1, so that their KL is 0; ours masks them.

Everything else is the same, also the factor ½ of the value loss and the unbiased variance of whitening.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from genrlhf.ops import (
    clipped_policy_loss,
    clipped_value_loss,
    generalised_advantages,
    kl_estimate,
    masked_mean,
    token_rewards,
    whiten,
)
from tests.helpers import EOS_ID

RECORD = json.loads((Path(__file__).parent / "trl_reference" / "reference.json").read_text(encoding="utf-8"))
CLOSE: dict[str, Any] = {"rtol": 0.0, "atol": 1e-5}
INVALID_LOGPROB = 1.0


class Recorded(NamedTuple):
    """A step of TRL's in our terms.

    Attributes:
        settings: TRL's settings.
        tensors: TRL's variables, by TRL's names.
        mask: (B, T) bool, the tokens up to and including EOS; ours.
        longer: (B, T) bool, the same and the step that TRL appends.
        ended: (B,) bool, whether EOS was drawn.
        minibatches: the variables of every minibatch, in order.
        logged: what TRL logged.
    """

    settings: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    mask: torch.Tensor
    longer: torch.Tensor
    ended: torch.Tensor
    minibatches: list[dict[str, torch.Tensor]]
    logged: dict[str, float]


def converted(case: dict[str, Any]) -> Recorded:
    """Find mask and `ended` from the tokens alone, as we would, and the longer mask from these."""
    tensors = {name: torch.tensor(value) for name, value in case["rollout"].items()}
    tensors["raw_scores"] = torch.tensor(case["raw_scores"])
    is_eos = tensors["responses"] == EOS_ID
    mask = is_eos.cumsum(-1) - is_eos.long() == 0
    longer = torch.cat([torch.ones_like(mask[:, :1]), mask[:, :-1]], dim=1)
    minibatches = [{name: torch.tensor(value) for name, value in part.items()} for part in case["minibatches"]]
    return Recorded(case["settings"], tensors, mask, longer, is_eos.any(-1), minibatches, case["logged"])


@pytest.fixture(params=RECORD["cases"])
def step(request: pytest.FixtureRequest) -> Recorded:
    return converted(RECORD["cases"][request.param])


def rewards_of(step: Recorded) -> torch.Tensor:
    """TRL's rewards by our functions: over the longer mask, whose last step then gets the score."""
    kl = kl_estimate(step.tensors["logprobs"], step.tensors["ref_logprobs"], step.settings["kl_estimator"])
    rewards = token_rewards(step.tensors["scores"], kl, step.longer, kl_coef=step.settings["kl_coef"])
    if step.settings["whiten_rewards"]:
        rewards = whiten(rewards, step.longer, shift_mean=False)
    return rewards


def advantages_of(step: Recorded) -> tuple[torch.Tensor, torch.Tensor]:
    options = {name: step.settings[name] for name in ("gamma", "lam")}
    advantages, returns = generalised_advantages(
        step.tensors["rewards"], step.tensors["values"], step.longer, **options
    )
    return whiten(advantages, step.mask), returns


def test_record_is_of_the_last_trl_with_ppo() -> None:
    assert RECORD["versions"]["trl"].startswith("1.10.")


def test_masks(step: Recorded) -> None:
    """TRL counts the tokens that we count; what it fills the others with gives a KL of 0 there."""
    assert torch.equal(~step.tensors["padding_mask"], step.mask)
    assert torch.equal(~step.tensors["padding_mask_p1"], step.longer)
    assert (step.longer.sum(-1) - step.mask.sum(-1)).unique().tolist() == [0, 1]
    for name in ("logprobs", "ref_logprobs"):
        assert (step.tensors[name][~step.mask] == INVALID_LOGPROB).all()


def test_missing_eos(step: Recorded) -> None:
    """TRL subtracts; our `missing_eos_score` would replace."""
    penalty = step.settings["missing_eos_penalty"] or 0.0
    expected = torch.where(step.ended, step.tensors["raw_scores"], step.tensors["raw_scores"] - penalty)
    assert 0 < step.ended.sum() < len(step.ended)
    torch.testing.assert_close(step.tensors["scores"], expected, **CLOSE)


def test_token_rewards(step: Recorded) -> None:
    torch.testing.assert_close(rewards_of(step), step.tensors["rewards"], **CLOSE)


def test_score_is_paid_on_eos_by_us_and_one_step_later_by_trl() -> None:
    """Over our own mask nothing but the position of the score changes, and that only where EOS comes early."""
    step = converted(RECORD["cases"]["k1"])
    kl = kl_estimate(step.tensors["logprobs"], step.tensors["ref_logprobs"], "k1")
    ours = token_rewards(step.tensors["scores"], kl, step.mask, kl_coef=step.settings["kl_coef"])
    moved = torch.zeros_like(ours)
    for row, (tokens, steps) in enumerate(zip(step.mask.sum(-1), step.longer.sum(-1), strict=True)):
        moved[row, steps - 1] += step.tensors["scores"][row]
        moved[row, tokens - 1] -= step.tensors["scores"][row]
    torch.testing.assert_close(step.tensors["rewards"] - ours, moved, **CLOSE)
    both = step.mask.sum(-1) == step.longer.sum(-1)
    assert both.any() and step.ended[both].any()
    torch.testing.assert_close(ours[both], step.tensors["rewards"][both], **CLOSE)


def test_advantages_and_returns(step: Recorded) -> None:
    """Advantages are whitened over the tokens, returns go on to the appended step."""
    advantages, returns = advantages_of(step)
    torch.testing.assert_close(advantages, step.tensors["advantages"], **CLOSE)
    # TRL leaves a zero behind the end, too, as there are neither rewards nor values.
    torch.testing.assert_close(returns, step.tensors["returns"], **CLOSE)


def test_losses_of_every_minibatch(step: Recorded) -> None:
    """Policy loss over the tokens, value loss over the appended step, too; then what TRL logs, a mean over all."""
    policy_losses, value_losses, policy_clipped, value_clipped = [], [], [], []
    for part in step.minibatches:
        rows = part["mini_batch_inds"]
        mask, longer = step.mask[rows], step.longer[rows]
        tensors = {name: step.tensors[name][rows] for name in ("logprobs", "values", "advantages", "returns")}
        policy = clipped_policy_loss(
            part["new_logprobs"], tensors["logprobs"], tensors["advantages"], clip_range=step.settings["cliprange"]
        )
        value = clipped_value_loss(
            part["vpred"], tensors["values"], tensors["returns"], clip_range=step.settings["cliprange_value"]
        )
        policy_losses.append(masked_mean(policy.loss, mask))
        value_losses.append(masked_mean(value.loss, longer))
        torch.testing.assert_close(policy_losses[-1], part["pg_loss"], **CLOSE)
        torch.testing.assert_close(value_losses[-1], part["vf_loss"], **CLOSE)
        loss = policy_losses[-1] + step.settings["vf_coef"] * value_losses[-1]
        torch.testing.assert_close(loss, part["loss"], **CLOSE)
        policy_clipped.append(masked_mean(policy.clipped.float(), mask))
        value_clipped.append(masked_mean(value.clipped.float(), longer))
    for name, figures in (
        ("loss/policy_avg", policy_losses),
        ("loss/value_avg", value_losses),
        ("policy/clipfrac_avg", policy_clipped),
        ("val/clipfrac_avg", value_clipped),
    ):
        assert float(torch.stack(figures).mean()) == pytest.approx(step.logged[name], abs=1e-5), name
    assert step.logged["policy/clipfrac_avg"] > 0
    assert step.logged["val/clipfrac_avg"] > 0


def test_losses_of_one_loss_over_both_masks_differ(step: Recorded) -> None:
    """We divide the value loss by the number of tokens and leave the appended step out: that is another number."""
    part = step.minibatches[0]
    rows = part["mini_batch_inds"]
    value = clipped_value_loss(
        part["vpred"],
        step.tensors["values"][rows],
        step.tensors["returns"][rows],
        clip_range=step.settings["cliprange_value"],
    )
    ours = masked_mean(value.loss, step.mask[rows])
    appended = step.longer[rows] & ~step.mask[rows]
    assert appended.any()
    theirs = (ours * step.mask[rows].sum() + value.loss[appended].sum()) / step.longer[rows].sum()
    torch.testing.assert_close(theirs, part["vf_loss"], **CLOSE)
    assert abs(float(ours - part["vf_loss"])) > 1e-3
