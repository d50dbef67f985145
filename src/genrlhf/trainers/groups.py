"""What is drawn for a prompt and scored, and the file that keeps it: one line a prompt, appended as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from genrlhf.data.chat import TEMPLATE_COLUMNS
from genrlhf.data.log import append_records, recover_records
from genrlhf.errors import DataError, RunFolderError, excerpt

__all__ = ["Completion", "Group", "GroupFiles"]


@dataclass(frozen=True)
class Completion:
    """A completion as it was drawn.

    Attributes:
        text: without special tokens, and without the stop string that ended it.
        ended: whether it ended in EOS or a stop string; False where it was cut off.
        token_ids: as it was sampled, EOS and stop string included; None where they are not those of the policy.
    """

    text: str
    ended: bool
    token_ids: list[int] | None = None


@dataclass(frozen=True)
class Group:
    """The completions of one prompt.

    Attributes:
        prompt: text, or messages.
        completions: n of them, in the order they were drawn.
        rewards: theirs, by the rule for those that were cut off; None where there is no reward. Where there is a reward
            of groups, a transform gets what that made of them.
        columns: what else stands in the prompt's row.
        logprobs: of every token of each, see `Sample.logprobs`; None unless `keep_logprobs` asks for them.
        row: the place of the prompt in the dataset.
        seed: of the draws; with `row` for whatever a transform leaves to chance.
        group_rewards: what a reward of groups made of the rewards; None where there is none.
    """

    prompt: Any
    completions: list[Completion]
    rewards: list[float] | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    logprobs: list[list[float]] | None = None
    row: int = 0
    seed: int = 0
    group_rewards: list[float] | None = None

    def at(self, row: int, seed: int, columns: Mapping[str, Any] | None = None) -> Group:
        """Return the group with its place in the dataset, the seed of the draws, and what else stands in its row."""
        return replace(self, row=row, seed=seed, columns=self.columns if columns is None else columns)

    @property
    def scores(self) -> list[float]:
        """The rewards.

        Raises:
            DataError: where there are none.
        """
        if self.rewards is None:
            raise DataError("The transform reads rewards, and there is no reward; give the trainer one.")
        return self.rewards

    def demonstration(self, place: int, **columns: Any) -> dict[str, Any]:
        """Return the row that teaches the completion at `place`, with further columns."""
        return {**self._asked, "completion": self.completions[place], **columns}

    def ranking(self, **columns: Any) -> dict[str, Any]:
        """Return the row of all completions and their rewards, with further columns."""
        return {**self._asked, "completions": list(self.completions), "rewards": self.scores, **columns}

    def pair(self, chosen: int, rejected: int, **columns: Any) -> dict[str, Any]:
        """Return the row that prefers the completion at one place to that at another, with further columns."""
        both = {"chosen": self.completions[chosen], "rejected": self.completions[rejected]}
        return {**self._asked, **both, **columns}

    @property
    def _asked(self) -> dict[str, Any]:
        """The prompt, with what its row hands to the chat template."""
        return {
            "prompt": self.prompt,
            **{name: self.columns[name] for name in TEMPLATE_COLUMNS if name in self.columns},
        }


@dataclass(frozen=True)
class GroupFiles:
    """Files of groups, one a process.

    Attributes:
        stem: their names are `{stem}-{process}.jsonl`.
        owner: which trainer's they are, in messages.
        write: makes a record of a group.
        read: makes completions, rewards and log-probabilities of a record.
    """

    stem: str = "groups"
    owner: str = "SampleAndTuneTrainer"
    write: Callable[[Group], Mapping[str, Any]] = lambda group: _record(group)
    read: Callable[[dict[str, Any]], Group] = lambda record: _group(record)

    def append(self, folder: Path, process: int, groups: Iterable[Group]) -> None:
        """Append one line for each group, under the number of its row."""
        records = [{"row": group.row, **self.write(group)} for group in groups]
        append_records(folder / f"{self.stem}-{process}.jsonl", records)

    def load(self, folder: Path, prompts: Sequence[Any]) -> dict[int, Group]:
        """Return what earlier starts have drawn for `prompts`, by row; a line that was cut off half-way is left out.

        Raises:
            RunFolderError: where a line is no group, or its row was drawn for another prompt.
        """
        found: dict[int, Group] = {}
        for file in self._in(folder):
            for number, record in enumerate(recover_records(file), start=1):
                row, group = self._parse(record, f"{file}, line {number}")
                if row >= len(prompts) or group.prompt != prompts[row]:
                    raise RunFolderError(
                        f"{file} holds samples of another dataset: its row {row} is {excerpt(group.prompt)}. Choose "
                        "another output_dir, or remove the file."
                    )
                found[row] = group
        return found

    def _parse(self, record: dict[str, Any], where: str) -> tuple[int, Group]:
        try:
            return int(record.pop("row")), self.read(record)
        except (ValueError, KeyError, TypeError) as error:
            raise RunFolderError(
                f"{where} is {excerpt(record)}, which is no output of {self.owner}; remove the line, or choose another "
                "output_dir."
            ) from error

    def any_in(self, folder: Path) -> bool:
        """Say whether an earlier start has drawn anything."""
        return any(file.stat().st_size > 0 for file in self._in(folder))

    def remove(self, folder: Path) -> None:
        """Delete what an earlier run has drawn."""
        for file in self._in(folder):
            file.unlink()

    def _in(self, folder: Path) -> list[Path]:
        return sorted(folder.glob(f"{self.stem}-*.jsonl"))


def _record(group: Group) -> dict[str, Any]:
    record: dict[str, Any] = {"prompt": group.prompt, "completions": [asdict(each) for each in group.completions]}
    given = {"rewards": group.rewards, "logprobs": group.logprobs, "group_rewards": group.group_rewards}
    return record | {name: values for name, values in given.items() if values is not None}


def _group(record: dict[str, Any]) -> Group:
    completions = [Completion(**each) for each in record["completions"]]
    given: dict[str, Any] = {name: record.get(name) for name in ("rewards", "logprobs", "group_rewards")}
    return Group(record["prompt"], completions, **given)
