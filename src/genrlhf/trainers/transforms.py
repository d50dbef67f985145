"""What a method of sample-and-tune does with what was drawn: a function of groups, or a `Transform`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from genrlhf.data.log import append_records, recover_records
from genrlhf.errors import ConfigError, RunFolderError
from genrlhf.models import ensure_pad_token, load_causal_lm, load_tokenizer
from genrlhf.sampling import SampleStore, TransformersSampler
from genrlhf.trainers.own_code import check_call
from genrlhf.trainers.tuning_rows import load_rows
from genrlhf.types import Sampler

if TYPE_CHECKING:
    from datasets import Dataset

    from genrlhf.trainers.groups import Group
    from genrlhf.types import SamplingParams

__all__ = ["ROWS_FILE", "Round", "Transform", "as_transform"]

ROWS_FILE = "rows.jsonl"


class Transform:
    """Makes rows of groups.

    Attributes:
        tune: how the rows are tuned on; None for what the objective's unit asks for.
        objective: of the fine-tuning; None for the cross-entropy.
    """

    tune: ClassVar[Any] = None
    objective: Any = None

    def __call__(self, groups: list[Group]) -> Any:
        """Return rows, or `TuningRows`: the same for the same groups."""
        raise NotImplementedError

    def check_settings(self, args: Any) -> None:
        """Raise `ConfigError` where it cannot go with the trainer's settings."""

    def check(self, rows: Dataset) -> None:
        """Raise `DataError` where it could make nothing of the training prompts, before any are drawn for."""

    def draws(self, columns: Sequence[str]) -> bool:
        """Whether completions are drawn for prompts with these columns; otherwise groups have none."""
        return True

    def in_round(self, round_: Round) -> Callable[[list[Group]], Any]:
        """Return the transform of a round, where it needs what the round has."""
        return self


class _PlainTransform(Transform):
    def __init__(self, function: Callable[[list[Group]], Any]) -> None:
        self.function = function

    def __call__(self, groups: list[Group]) -> Any:
        return self.function(groups)

    def __getattr__(self, name: str) -> Any:
        if name == "function":  # of a copy that is not filled yet
            raise AttributeError(name)
        return getattr(self.function, name)


def as_transform(transform: Any) -> Transform:
    """Return a `Transform`.

    Raises:
        ConfigError: for what cannot be called with groups, or a class in place of one of its objects.
    """
    if isinstance(transform, type) or not callable(transform):
        raise ConfigError(f"transform is {transform!r}; give a function of groups, or an object that is called.")
    check_call(transform, ("groups",), "transform")
    return transform if isinstance(transform, Transform) else _PlainTransform(transform)


@dataclass(frozen=True)
class Round:
    """A round of sample-and-tune, as a transform sees it: the policy that it begins with, and a store for steps.

    Attributes:
        folder: of the round.
        number: from 0.
        earlier: the folders of the rounds before it, the newest last.
        model: the policy.
        tokenizer: its tokenizer.
        args: the trainer's settings.
        seed: of the round's draws.
    """

    folder: Path
    number: int
    earlier: tuple[Path, ...]
    model: Any
    tokenizer: Any
    args: Any
    seed: int

    @property
    def steps(self) -> Path:
        """The folder of the files of steps, which goes with the run's samples."""
        return self.folder / "steps"

    def earlier_rows(self, rounds: int) -> list[dict[str, Any]]:
        """Return the rows that were tuned on in the last so many rounds before this one."""
        return [row for folder in self.earlier[-rounds:] for row in load_rows(folder / ROWS_FILE)] if rounds else []

    def sampler(self, source: Any = None) -> Sampler:
        """Return a sampler: one that is given, of a model by its name or folder, or by default of the policy."""
        if isinstance(source, Sampler):
            return source
        model, tokenizer = self.model, self.tokenizer
        if source is not None:
            trust = self.args.trust_remote_code
            model = load_causal_lm(source, trust_remote_code=trust).to(self.args.device)
            tokenizer = load_tokenizer(source, trust_remote_code=trust)
            ensure_pad_token(tokenizer, model)
        return TransformersSampler(model, tokenizer, batch_size=self.args.sampling_batch_size)

    def draw(
        self,
        name: str,
        prompts: Sequence[Mapping[str, Any]],
        n: int,
        *,
        source: Any = None,
        **changes: Any,
    ) -> list[dict[str, Any]]:
        """Return a record for each of the prompts, with n `outputs` and whether each has `ended`.

        They are appended to `steps/NAME.jsonl` as they come; what an earlier start has drawn is not drawn again.

        Args:
            name: of the step.
            prompts: rows of `prompt`; further columns are kept.
            n: outputs of each.
            source: what draws, see `sampler`; it is loaded where something is to be drawn.
            changes: of the trainer's `SamplingParams`.
        """
        params: SamplingParams = replace(self.args.sampling_params, logprobs=False, **changes)
        file = self.steps / f"{name}.jsonl"
        store = SampleStore(file, prompts, n=n, params=params, seed=self.seed, model={"step": name})
        store.open()
        store.load()
        if len(store.done) < len(store.rows):
            store.run(self.sampler(source))
        store.finish()
        return sorted(store.records(), key=lambda record: record["row"])

    def each(
        self, name: str, items: Sequence[Any], find: Callable[[Sequence[Any]], Iterable[Any]], *, at_a_time: int = 1
    ) -> list[Any]:
        """Return what a function makes of every item, as JSON has it, kept in `steps/NAME.jsonl` as it comes.

        Args:
            name: of the step.
            items: all of them.
            find: gets some items, and returns as many values.
            at_a_time: how many it gets.
        """
        file = self.steps / f"{name}.jsonl"
        found = {record.get("row"): record.get("value") for record in recover_records(file)}
        if not set(found) <= set(range(len(items))):
            raise RunFolderError(f"{file} holds a step of another run; choose another output_dir, or remove the file.")
        missing = [row for row in range(len(items)) if row not in found]
        for start in range(0, len(missing), at_a_time):
            rows = missing[start : start + at_a_time]
            values = list(find([items[row] for row in rows]))
            append_records(file, [{"row": row, "value": value} for row, value in zip(rows, values, strict=True)])
            found |= dict(zip(rows, values, strict=True))
        return [found[row] for row in range(len(items))]
