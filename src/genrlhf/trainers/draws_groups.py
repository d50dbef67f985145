"""Drawing completions of a trainer's prompts in groups, kept in its folder, and their figures."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset

from genrlhf.errors import ConfigError
from genrlhf.sampling import TransformersSampler
from genrlhf.sampling.choose import sample_seeds
from genrlhf.trainers.best_of_n_choice import group_figures
from genrlhf.trainers.group_draw import GroupDraw
from genrlhf.trainers.groups import Group, GroupFiles
from genrlhf.trainers.round_files import RoundFiles
from genrlhf.trainers.shared import check_name

if TYPE_CHECKING:
    from genrlhf.rewards.groups import GroupReward
    from genrlhf.trainers.transforms import Transform
    from genrlhf.types import Sampler

__all__ = ["DrawsGroups"]


class DrawsGroups:
    """What `SampleAndTuneTrainer` draws from its policy, to tune on and to evaluate: a mixin of it."""

    args: Any
    model: Any
    processing_class: Any
    reward: Any
    group_reward: GroupReward | None
    sampler: Sampler | None
    transform: Transform
    train_dataset: Dataset | None
    eval_dataset: Dataset | dict[str, Dataset] | None
    _files: GroupFiles
    _check: Callable[[Dataset, str], None]

    @property
    def _ask(self) -> Any:
        return getattr(self.transform, "ask", None)

    @property
    def _rounds(self) -> RoundFiles:
        return RoundFiles(Path(self.args.output_dir), self.args.num_iterations, self._files)

    def sample_groups(self, iteration: int = 0) -> list[Group]:
        """Return the groups of all training prompts, in their order, with rewards as they came.

        They are appended to a file in the iteration's folder as they come; what an earlier start has written there is
        not drawn again. Several processes share the work.
        """
        if self.train_dataset is None:
            raise ConfigError(f"train() needs prompts; pass train_dataset to {type(self).__name__}.")
        dataset, folder, state = self.train_dataset, self._rounds.folder(iteration), PartialState()
        columns: dict[str, Any] = {name: dataset[name] for name in dataset.column_names}
        prompts = list(columns.pop("prompt"))
        seed = self._seed(iteration)
        if not self.transform.draws(dataset.column_names):
            rows_of = ({name: values[row] for name, values in columns.items()} for row in range(len(prompts)))
            return [Group(prompts[row], [], columns=held, row=row, seed=seed) for row, held in enumerate(rows_of)]
        there = self._files.load(folder, prompts) if state.is_main_process else {}
        state.wait_for_everyone()
        there = there or self._files.load(folder, prompts)
        rows = range(state.process_index, len(prompts), state.num_processes)
        for groups in self._batches(prompts, columns, rows, seed, done=there, ask=self._ask):
            self._files.append(folder, state.process_index, groups)
        state.wait_for_everyone()
        drawn = sorted(self._files.load(folder, prompts).items())
        return [group.at(row, seed, {name: values[row] for name, values in columns.items()}) for row, group in drawn]

    def _groups(
        self, prompts: Sequence[Any], columns: dict[str, Sequence[Any]], seed: int, *, shared: bool = False
    ) -> list[Group]:
        """Return the group of every prompt; `shared` has each of several processes draw its part of them."""
        state = PartialState()
        every = range(len(prompts))
        rows = every[state.process_index :: state.num_processes] if shared else every
        drawn = [group for groups in self._batches(prompts, columns, rows, seed) for group in groups]
        return sorted(gather_object(drawn) if shared else drawn, key=attrgetter("row"))

    def _batches(
        self,
        prompts: Sequence[Any],
        columns: dict[str, Sequence[Any]],
        rows: Sequence[int],
        seed: int,
        done: Container[int] = (),
        ask: Callable[..., Any] | None = None,
    ) -> Iterator[list[Group]]:
        """Yield the groups of `rows` that are not `done`, as many at a time as are scored together."""
        sampler = self.sampler
        if sampler is None:
            sampler = TransformersSampler(self.model, self.processing_class, batch_size=self.args.sampling_batch_size)
        # What another sampler draws need not have the policy's tokens.
        options: dict[str, Any] = {"with_tokens": self.sampler is None, "group_reward": self.group_reward}
        draw = GroupDraw(sampler, self.reward, self.args, ask=ask, **options)
        yield from draw.batches(prompts, columns, rows, seed, done)

    def _seed(self, iteration: int) -> int:
        return self.args.seed if iteration == 0 else int(sample_seeds(self.args.seed, [iteration], 1)[0])

    def evaluate(
        self, eval_dataset: Dataset | dict[str, Dataset] | str | None = None, *, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Return figures of n completions of every prompt, means over prompts, which several processes share.

        Keys: `eval_ended`, the share of completions that were not cut off, and with a reward `eval_reward/mean`, of a
        single completion, and `eval_reward/best`, of the best of n; the same of `eval_group_reward/` where there is a
        reward of groups; with several named sets `eval_{name}_…`.
        """
        check_name(eval_dataset, self.eval_dataset)
        if isinstance(eval_dataset, str):
            return self.evaluate(dict(self.eval_dataset or {})[eval_dataset], metric_key_prefix=metric_key_prefix)
        dataset = eval_dataset if eval_dataset is not None else self.eval_dataset
        if dataset is None:
            raise ConfigError("evaluate() needs prompts; pass eval_dataset.")
        if isinstance(dataset, dict):
            figures: dict[str, float] = {}
            for key, part in dataset.items():
                figures.update(self.evaluate(part, metric_key_prefix=f"{metric_key_prefix}_{key}"))
            return figures
        if eval_dataset is not None:
            self._check(dataset, "eval_dataset")
        columns: dict[str, Any] = {name: dataset[name] for name in dataset.column_names}
        groups = self._groups(columns.pop("prompt"), columns, self.args.seed + 1, shared=True)
        return {f"{metric_key_prefix}_{name}": value for name, value in self._figures(groups).items()}

    def _figures(self, groups: Sequence[Group]) -> dict[str, float]:
        drawn = [completion for group in groups for completion in group.completions]
        figures = {"ended": sum(completion.ended for completion in drawn) / len(drawn)}
        if self.reward is not None:
            figures["reward/mean"] = sum(sum(group.scores) for group in groups) / len(drawn)
            figures["reward/best"] = sum(max(group.scores) for group in groups) / len(groups)
        if self.group_reward is not None:
            grouped = [group.group_rewards or [] for group in groups]
            figures |= group_figures(grouped, [each.index(max(each)) for each in grouped])
        return figures
