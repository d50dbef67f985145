"""What best-of-N returns for a prompt, and keeps of it on disk."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from genrlhf.trainers.groups import Completion, Group

__all__ = ["BestOfNOutput", "as_group", "as_record"]


@dataclass(frozen=True)
class BestOfNOutput:
    """The best of n completions of one prompt.

    Attributes:
        prompt: text, or messages.
        completion: the sample that was chosen: that with the highest reward, the first of them where several have it;
            where there is a reward of groups, by that.
        reward: its reward.
        samples: all n completions, in the order they were drawn.
        rewards: their rewards.
        ended: of each, whether it ended in EOS or a stop string; False where it was cut off.
        token_ids: of each, as it was sampled, EOS and stop string included; None where the sampler does not tell.
        chosen: the place of `completion` among them.
        group_rewards: what a reward of groups made of their rewards; None where there is none.
    """

    prompt: Any
    completion: str
    reward: float
    samples: list[str]
    rewards: list[float]
    ended: list[bool]
    token_ids: list[list[int] | None]
    chosen: int
    group_rewards: list[float] | None = None


def as_record(output: BestOfNOutput) -> dict[str, Any]:
    """Return what the file keeps of an output, beside its row."""
    record = asdict(output)
    if output.group_rewards is None:
        del record["group_rewards"]
    return record


def as_group(record: dict[str, Any]) -> Group:
    """Return the group of a record.

    Raises:
        TypeError: where it is no record of an output.
    """
    output = BestOfNOutput(**record)
    drawn = zip(output.samples, output.ended, output.token_ids, strict=True)
    completions = [Completion(*each) for each in drawn]
    return Group(output.prompt, completions, rewards=output.rewards, group_rewards=output.group_rewards)
