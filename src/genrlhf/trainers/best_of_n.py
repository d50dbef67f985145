"""Best-of-N sampling, and its distillation into the policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from transformers import PreTrainedModel, TrainerCallback

from genrlhf.errors import ConfigError, DataError
from genrlhf.rewards import RewardSource
from genrlhf.rewards.groups import as_group_reward
from genrlhf.rewards.signatures import RESERVED
from genrlhf.trainers.best_of_n_choice import best_of_n_figures, choose
from genrlhf.trainers.best_of_n_config import BestOfNConfig
from genrlhf.trainers.best_of_n_file import BestOfNOutput, as_group, as_record
from genrlhf.trainers.card import MadeBy
from genrlhf.trainers.group_draw import check_group_reward
from genrlhf.trainers.groups import Group, GroupFiles
from genrlhf.trainers.sample_and_tune import SampleAndTuneTrainer
from genrlhf.trainers.tuners import PairTuner, SupervisedTuner

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedTokenizerBase

    from genrlhf.types import GroupRewardFunction, Sampler

__all__ = ["BestOfNOutput", "BestOfNTrainer"]


class BestOfNTrainer(SampleAndTuneTrainer):
    """Draws n completions of a prompt and takes the one with the highest reward.

    `generate` does this for given prompts (Stiennon et al. 2020, section 4.3; Nakano et al. 2021). `train` is
    `SampleAndTuneTrainer` with a transform that takes the best: it does it for the training prompts, keeps all samples
    in `output_dir`, and fine-tunes the policy on the best ones, so that one sample of it comes near the best of n. This
    is rejection-sampling fine-tuning (Touvron et al. 2023, "Llama 2", section 3.2.3; Dong et al. 2023, "RAFT").

    Args:
        model: the policy, usually an SFT model: a name, a folder or a module.
        reward: what chooses: the name or folder of a sequence-classification model with one label, such a module, a
            callable `(prompts, completions, **columns) -> list[float]`, or a list of `(reward, weight)`.
        args: the settings.
        sampler: draws the samples of `generate` and `evaluate`, such as a `ServerSampler`; by default the policy,
            see `TransformersSampler`. With a sampler, `model` may be None where nothing is trained.
        train_dataset: rows with a `prompt`, text or messages; further columns reach the reward.
        eval_dataset: the same, for `evaluate`.
        processing_class: the policy's tokenizer; by default the one saved with it.
        reward_processing_class: the reward model's tokenizer; by default the one saved with it.
        peft_config: distil into an adapter of this kind instead of the model itself.
        callbacks: further callbacks of the fine-tuning.
        group_reward: makes what is chosen by of the rewards of a prompt's n completions, which it sees together, as
            `PPOTrainer` takes it; None chooses by the rewards.

    Raises:
        DataError: for data that cannot be used, naming the row.
        ModelError: for a model that is no causal language model, or a reward model with more than one label.
        ConfigError: for settings that cannot work together.
    """

    made_by = MadeBy(
        "best_of_n",
        "Best-of-N distillation",
        "Dong et al. 2023 (RAFT), arXiv 2304.06767; Stiennon et al. 2020, arXiv 2009.01325",
    )
    args: BestOfNConfig
    _keeps_rows = False
    _what = "best samples"

    def __init__(
        self,
        model: str | PreTrainedModel | PeftModel | None,
        reward: RewardSource,
        args: BestOfNConfig | None = None,
        train_dataset: Dataset | None = None,
        eval_dataset: Dataset | dict[str, Dataset] | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        reward_processing_class: PreTrainedTokenizerBase | None = None,
        sampler: Sampler | None = None,
        peft_config: PeftConfig | None = None,
        callbacks: list[TrainerCallback] | None = None,
        group_reward: GroupRewardFunction | None = None,
    ) -> None:
        super().__init__(
            model,
            args if args is not None else BestOfNConfig("best_of_n"),
            train_dataset,
            transform=self._take_the_best,
            reward=reward,
            sampler=sampler,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            reward_processing_class=reward_processing_class,
            peft_config=peft_config,
            callbacks=callbacks,
            group_reward=group_reward,
        )
        # The settings say all else.
        self._given = {"group_reward": self._given["group_reward"]}
        self._files = GroupFiles("best_of_n", type(self).__name__, lambda group: as_record(self._best(group)), as_group)

    @staticmethod
    def check_functions(args: BestOfNConfig, **functions: Any) -> None:
        """Raise `ConfigError` where a `group_reward` cannot go with settings; the transform is the trainer's own."""
        check_group_reward(as_group_reward(functions.get("group_reward")), args.n)

    @property
    def distillation(self) -> SupervisedTuner | PairTuner | None:
        """The trainer of the last fine-tuning."""
        return self.tuner

    def generate(
        self, prompts: Sequence[Any] | Dataset, *, seed: int | None = None, **columns: Sequence[Any]
    ) -> list[BestOfNOutput]:
        """Draw `args.n` completions of every prompt and return the best, with all of them beside it.

        Args:
            prompts: text or messages; or rows with a `prompt`, as a dataset or a list, whose other columns the reward
                may use.
            seed: of the samples; `args.seed` by default. A prompt's samples depend on it, on its place and on nothing
                else.
            columns: what else the reward uses, one value a prompt.
        """
        if isinstance(prompts, str):
            raise DataError("generate() wants a list of prompts, not one string; write generate([prompt]).")
        if isinstance(prompts, Dataset) or _are_rows(prompts):
            dataset = prompts if isinstance(prompts, Dataset) else Dataset.from_list(list(prompts))
            if "prompt" not in dataset.column_names:
                raise DataError(
                    f"The rows given to generate() have no 'prompt', only {', '.join(dataset.column_names)}; rename a "
                    "column, or put a conversation into a list of prompts: generate([conversation])."
                )
            self._check(dataset, "prompts")
            columns = {**{name: dataset[name][:] for name in dataset.column_names}, **columns}
            prompts = columns.pop("prompt")
        if taken := [name for name in RESERVED if name in columns]:
            raise DataError(f"generate() has no column {taken[0]!r}, which is what the reward gets; rename it.")
        return [self._best(group) for group in self._groups(prompts, columns, self.args.seed if seed is None else seed)]

    def _best(self, group: Group) -> BestOfNOutput:
        options: dict[str, Any] = {"seed": group.seed, "row": group.row, "group_rewards": group.group_rewards}
        return choose(group.prompt, group.completions, group.scores, self.args, **options)

    def _take_the_best(self, groups: list[Group]) -> list[dict[str, Any]]:
        outputs = map(self._best, groups)
        return [
            group.demonstration(output.chosen, reward=output.reward)
            for group, output in zip(groups, outputs, strict=True)
        ]

    def _by_rule(self, groups: list[Group]) -> list[Group]:
        # `choose` goes by the rule, and reports the rewards as they came.
        return groups

    def _refuse_to_train(self, resume_from_checkpoint: Any) -> None:
        if self.model is None or self.sampler is not None:
            raise ConfigError("train() samples from the policy that it trains; give a model, and no sampler.")
        super()._refuse_to_train(resume_from_checkpoint)

    def evaluate(
        self, eval_dataset: Dataset | dict[str, Dataset] | str | None = None, *, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Return the mean reward of the best of n and of a single sample, and the KL that choosing costs at most.

        Keys: `eval_reward/best`, `eval_reward/mean`, `eval_kl/bound` (log n − (n − 1)/n, in nats); and, for m = 2, 4, …
        below n, what the best of m of the same samples has (see `best_of_n_weights`): `eval_reward/best_of_m`,
        `eval_kl/bound_of_m`. With a reward of groups, in place of these `eval_group_reward/best` and
        `eval_group_reward/mean`, and `eval_reward/best` is the reward of what that chose. All are means over prompts,
        which several processes share among them.
        """
        return super().evaluate(eval_dataset, metric_key_prefix=metric_key_prefix)

    def _figures(self, groups: Sequence[Group]) -> dict[str, float]:
        return best_of_n_figures([self._best(group) for group in groups], self.args)


def _are_rows(prompts: Any) -> bool:
    """Say whether prompts come as rows.

    Raises:
        DataError: where they are neither rows nor prompts.
    """
    if not isinstance(prompts, Sequence):
        raise DataError(
            f"generate() wants a list of prompts or a dataset of rows, not a {type(prompts).__name__}; give a list, or "
            "one split of it."
        )
    return len(prompts) > 0 and all(isinstance(row, Mapping) for row in prompts)
