"""Drawing completions of prompts, and scoring them, a few groups at a time."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from tqdm.auto import tqdm

from genrlhf.data.chat import prompts_of
from genrlhf.errors import ConfigError
from genrlhf.rewards import check_rewards
from genrlhf.rewards.checks import reward_name
from genrlhf.rewards.signatures import with_samples
from genrlhf.trainers.groups import Completion, Group

if TYPE_CHECKING:
    from genrlhf.rewards.groups import GroupReward
    from genrlhf.types import RewardFunction, Sample, Sampler

__all__ = ["GroupDraw", "check_group_reward", "rewards_of"]


@dataclass(frozen=True)
class GroupDraw:
    """Draws groups.

    Attributes:
        sampler: what draws.
        reward: what scores; None for no rewards.
        args: the settings, of which `n`, those of sampling and the batch sizes are used.
        with_tokens: whether the sampler's tokens are those of the policy.
        ask: `(prompt, what else stands in its row) -> prompt` as the sampler is asked; None for the prompt itself.
        group_reward: what the rewards of a prompt's completions are made into; None for none.
    """

    sampler: Sampler
    reward: RewardFunction | None
    args: Any
    with_tokens: bool
    ask: Callable[[Any, Mapping[str, Any]], Any] | None = None
    group_reward: GroupReward | None = None

    def batches(
        self,
        prompts: Sequence[Any],
        columns: Mapping[str, Sequence[Any]],
        rows: Sequence[int],
        seed: int,
        done: Container[int] = (),
    ) -> Iterator[list[Group]]:
        """Yield the groups of `rows` that are not `done`, as many at a time as are scored together.

        Args:
            prompts: of the whole dataset.
            columns: what else stands in its rows.
            rows: the places of those to draw.
            seed: of the draws.
            done: places that are left out.
        """
        args, n = self.args, self.args.n
        size = max(1, min(args.sampling_batch_size, args.reward_batch_size) // n)
        places = {place for place, row in enumerate(rows) if row in done}
        asked = prompts_of({"prompt": self._asked(prompts, columns), **columns})
        params = replace(args.sampling_params, logprobs=args.keep_logprobs)
        stream = self.sampler.stream([asked[row] for row in rows], n, params, seed, rows=rows, done=places)
        fresh = ((rows[place], samples) for place, samples in stream if place not in places)
        with tqdm(total=len(rows) - len(places), desc=f"{n} samples each", disable=args.disable_tqdm) as bar:
            while part := list(islice(fresh, size)):
                rewards = self._rewards(prompts, columns, part)
                groups = [
                    self._group(
                        prompts[row], {name: values[row] for name, values in columns.items()}, drawn, scores
                    ).at(row, seed)
                    for (row, drawn), scores in zip(part, rewards, strict=True)
                ]
                yield self._regrouped(groups, part)
                bar.update(len(part))

    def _asked(self, prompts: Sequence[Any], columns: Mapping[str, Sequence[Any]]) -> Sequence[Any]:
        if self.ask is None:
            return prompts
        others = [{name: values[row] for name, values in columns.items()} for row in range(len(prompts))]
        return [self.ask(prompt, row) for prompt, row in zip(prompts, others, strict=True)]

    def _rewards(
        self, prompts: Sequence[Any], columns: Mapping[str, Sequence[Any]], part: Sequence[tuple[int, list[Sample]]]
    ) -> list[list[float] | None]:
        """Return the rewards of each group, None for none."""
        if self.reward is None:
            return [None] * len(part)
        places = [row for row, drawn in part for _ in drawn]
        given = {name: [values[row] for row in places] for name, values in columns.items()}
        samples = [sample for _, drawn in part for sample in drawn]
        found = iter(rewards_of(self.reward, [prompts[row] for row in places], samples, given))
        return [list(islice(found, len(drawn))) for _, drawn in part]

    def _regrouped(self, groups: list[Group], part: Sequence[tuple[int, list[Sample]]]) -> list[Group]:
        """Return groups with what the reward of groups makes of their rewards, by the rule for those cut off."""
        if self.group_reward is None:
            return groups
        ended: Any = [[sample.ended for sample in drawn] for _, drawn in part]
        rule = self.args.cut_off_rule
        ruled = [rule.of_rewards(group.scores, each) for group, each in zip(groups, ended, strict=True)]
        columns: dict[str, Any] = {name: [group.columns[name] for group in groups] for name in groups[0].columns}
        tokens: Any = [[sample.token_ids for sample in drawn] for _, drawn in part]
        columns = with_samples(columns, [None] if any(None in each for each in tokens) else tokens, ended)
        texts = [[sample.text for sample in drawn] for _, drawn in part]
        found = self.group_reward.rewards(
            [group.prompt for group in groups], texts, torch.stack(ruled).float(), columns
        )
        return [replace(group, group_rewards=row) for group, row in zip(groups, found.tolist(), strict=True)]

    def _group(
        self, prompt: Any, columns: Mapping[str, Any], drawn: Sequence[Sample], rewards: list[float] | None
    ) -> Group:
        tokens = [sample.token_ids if self.with_tokens else None for sample in drawn]
        return Group(
            prompt,
            [Completion(sample.text, sample.ended, ids) for sample, ids in zip(drawn, tokens, strict=True)],
            rewards=rewards,
            columns=columns,
            logprobs=[sample.logprobs or [] for sample in drawn] if self.args.keep_logprobs else None,
        )


def rewards_of(
    reward: RewardFunction, prompts: Sequence[Any], samples: Sequence[Sample], columns: Mapping[str, Sequence[Any]]
) -> list[float]:
    """Return the reward of every sample, given its prompt and what else stands in its row.

    Raises:
        RewardError: where they are no finite numbers, one a sample.
    """
    texts = [sample.text for sample in samples]
    columns = with_samples(columns, [sample.token_ids for sample in samples], [sample.ended for sample in samples])
    return check_rewards(reward(prompts, texts, **columns), prompts, texts, name=reward_name(reward))


def check_group_reward(group_reward: GroupReward | None, n: int, *, has_reward: bool = True) -> None:
    """Raise `ConfigError` where a reward of groups has nothing to compare, or no rewards to begin with."""
    if group_reward is None:
        return
    if n < 2:
        raise ConfigError(
            f"With group_reward={group_reward.name} the completions of a prompt are compared, and n is {n}; set it "
            "to 2 or more, such as 8."
        )
    if not has_reward:
        raise ConfigError(f"group_reward={group_reward.name} begins with rewards, and there is no reward; give one.")
