"""Samples relabelled in hindsight: which instruction each fulfils, the rows that this makes, and their loss."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from genrlhf.data.asking import Asking
from genrlhf.data.chat import TEMPLATE_COLUMNS, prompt_of
from genrlhf.errors import DataError, excerpt
from genrlhf.models.structure import context_length
from genrlhf.ops import contrast_loss
from genrlhf.rewards import check_rewards
from genrlhf.rewards.checks import reward_name
from genrlhf.rewards.signatures import bind
from genrlhf.sampling.decode import prompt_token_ids
from genrlhf.trainers.groups import Group
from genrlhf.trainers.language_feedback import fill
from genrlhf.trainers.objective import Objective
from genrlhf.trainers.other_prompts import means_behind
from genrlhf.trainers.shared import shorter
from genrlhf.trainers.supervised_batch import SupervisedBatch
from genrlhf.trainers.transforms import Round
from genrlhf.trainers.tuning_rows import TuningRows

__all__ = ["HindsightObjective", "asked", "hindsight_rows", "relabelled", "wanted_of"]

logger = logging.getLogger(__name__)

_CONTRASTED = 4
"""Other instructions that a sample is contrasted with, where they are not listed."""


class HindsightObjective(Objective):
    """CE_ε + α C + β Σ_v π log π; a mean over tokens, of which each has the C of its row."""

    def __init__(self, epsilon: float, alpha: float, beta: float) -> None:
        self.epsilon, self.alpha, self.beta = epsilon, alpha, beta
        self.columns = ("contrast_ids",) if alpha else ()  # type: ignore[misc]

    def __call__(self, batch: SupervisedBatch) -> torch.Tensor:
        """Return the loss of every token, (N,)."""
        every = batch.logits().log_softmax(-1) if self.epsilon or self.beta else None
        logprobs = batch.logprobs()
        loss = -logprobs
        if every is not None:
            loss = (1 - self.epsilon) * loss - self.epsilon * every.mean(-1)
            loss = loss + self.beta * (every.exp() * every).sum(-1)
        if self.alpha:
            others, rows = means_behind(batch, batch.columns["contrast_ids"])
            contrast = contrast_loss(batch.mean_by_row(logprobs), others, rows)
            batch.log("contrast", contrast)
            loss = loss + self.alpha * contrast[batch.rows]
        return loss


def asked(prompt: Any, instruction: str, template: str) -> Any:
    """Return a prompt, text or messages, put together with an instruction by a template."""
    before, _, after = template.partition("{prompt}")
    return Asking(fill(before, instruction=instruction), fill(after, instruction=instruction))(prompt)


def wanted_of(row: Mapping[str, Any], instructions: Sequence[str] | None, where: str = "the row") -> str:
    """Return the instruction that is to be fulfilled: the row's, or else the first one listed.

    Raises:
        DataError: where there is none, or none of those that are listed; it begins with `where`.
    """
    found = row.get("instruction", instructions[0] if instructions else None)
    if not isinstance(found, str) or not found.strip():
        raise DataError(
            f"{where}: its instruction is {excerpt(found)}; give a column instruction, or list instructions."
        )
    if instructions and found not in instructions:
        raise DataError(f"{where}: its instruction is {excerpt(found)}, none of {', '.join(map(repr, instructions))}.")
    return found


def relabelled(
    feedback: Any,
    goal_reward: Any,
    instructions: Sequence[str] | None,
    groups: Sequence[Group],
) -> list[list[str]]:
    """Return the instruction that each completion of each group fulfils.

    Args:
        feedback: `(prompts, completions, **columns) -> instructions`, asked once a group.
        goal_reward: in its place `(prompts, completions, instructions, **columns) -> rewards`.
        instructions: all there are; None where any will do.
        groups: what was drawn.

    Raises:
        DataError: for another number of instructions than completions, an empty one, or one that is not listed.
        RewardError: for rewards of goals that are not finite numbers, one each.
    """
    found = []
    for group in groups:
        texts = [each.text for each in group.completions]
        prompts = [group.prompt] * len(texts)
        columns = {name: [value] * len(texts) for name, value in group.columns.items()}
        if goal_reward is None:
            args, keywords = bind(feedback, prompts, texts, columns, name=reward_name(feedback))
            labels = list(feedback(*args, **keywords))
        else:
            labels = _best_goals(goal_reward, prompts, texts, columns, list(instructions or ()))
        _refuse_labels(labels, group, instructions)
        found.append(labels)
    return found


def _best_goals(
    reward: Callable[..., Any], prompts: list[Any], texts: list[str], columns: dict[str, Any], goals: list[str]
) -> list[str]:
    """Return for each text the first of the goals whose reward is the highest."""
    by_goal = []
    for goal in goals:
        given = {**columns, "instructions": [goal] * len(texts)}
        args, keywords = bind(reward, prompts, texts, given, name=reward_name(reward))
        by_goal.append(check_rewards(reward(*args, **keywords), prompts, texts, name=reward_name(reward)))
    return [goals[max(range(len(goals)), key=values.__getitem__)] for values in zip(*by_goal, strict=True)]


def _refuse_labels(labels: Sequence[Any], group: Group, instructions: Sequence[str] | None) -> None:
    where = f"For the prompt {excerpt(group.prompt)} of row {group.row} feedback returned"
    if len(labels) != len(group.completions):
        raise DataError(
            f"{where} {len(labels)} instructions for {len(group.completions)} completions; return one for each."
        )
    for completion, label in zip(group.completions, labels, strict=True):
        if not isinstance(label, str) or not label.strip():
            raise DataError(f"{where} {excerpt(label)} for {excerpt(completion.text)}; return an instruction.")
        if instructions and label not in instructions:
            listed = ", ".join(map(repr, instructions))
            raise DataError(f"{where} {excerpt(label)} for {excerpt(completion.text)}, which is none of {listed}.")


def hindsight_rows(
    groups: Sequence[Group],
    labels: Sequence[Sequence[str]],
    template: str,
    instructions: Sequence[str] | None,
    round_: Round | None,
    *,
    contrast: bool,
    keep_rounds: int,
) -> TuningRows:
    """Return a row for every sample behind the instruction that it fulfils, and rows of earlier rounds.

    Args:
        groups: what was drawn.
        labels: the instruction that each completion fulfils.
        template: of prompts.
        instructions: all there are; None for those of the round.
        round_: whose tokenizer makes tokens of contrasting prompts.
        contrast: give rows the tokens of their prompts under other instructions.
        keep_rounds: rounds whose rows are tuned on, this one among them.
    """
    number = 0 if round_ is None else round_.number
    counts = Counter(label for each in labels for label in each)
    if len(counts) == 1:
        logger.warning("All %d samples were relabelled %r: what they are asked tells nothing.", *_only(counts))
    limit = None if round_ is None else shorter(round_.args.max_length, context_length(round_.model))
    rows: list[dict[str, Any]] = []
    full = 0
    for group, each in zip(groups, labels, strict=True):
        before = len(rows)
        for place, label in enumerate(each):
            row = group.demonstration(place, prompt=asked(group.prompt, label, template), round=number)
            others = [other for other in instructions or sorted(counts) if other != label] if contrast else []
            if not instructions and len(others) > _CONTRASTED:
                draw = np.random.default_rng([group.seed, group.row, place])
                others = [others[i] for i in sorted(draw.permutation(len(others))[:_CONTRASTED].tolist())]
            prompts = [row["prompt"], *(asked(group.prompt, other, template) for other in others)]
            ids = [] if round_ is None else [_ids(prompt, group, round_) for prompt in prompts]
            longest = max(map(len, ids), default=0) + len(group.completions[place].token_ids or ())
            if limit is None or longest <= limit:
                rows.append({**row, **({"contrast_ids": ids[1:]} if contrast else {})})
        full += len(rows) == before
    kept = [] if round_ is None else round_.earlier_rows(1)
    rows += [row for row in kept if row.get("round", 0) > number - keep_rounds]
    return TuningRows(rows, {"the other instruction leaves no room": full})


def _ids(prompt: Any, group: Group, round_: Round) -> list[int]:
    options = {name: group.columns[name] for name in TEMPLATE_COLUMNS if name in group.columns}
    return prompt_token_ids(round_.tokenizer, prompt_of({"prompt": prompt, **options}))


def _only(counts: Counter[str]) -> tuple[int, str]:
    ((label, count),) = counts.items()
    return count, label
