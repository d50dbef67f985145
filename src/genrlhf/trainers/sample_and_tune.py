"""The loop of methods that draw, look at what they have drawn, and tune on it; again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerate import PartialState
from datasets import Dataset
from transformers import PreTrainedModel, TrainerCallback

from genrlhf.errors import CheckpointError, ConfigError
from genrlhf.models import ensure_pad_token, load_causal_lm, load_tokenizer
from genrlhf.models.adapter_base import refuse_unmergeable
from genrlhf.models.model_set import refuse_adapter_with_frozen_layers
from genrlhf.models.structure import context_length
from genrlhf.models.tokens import set_eos_token
from genrlhf.rewards import RewardSource, load_reward
from genrlhf.rewards.groups import as_group_reward
from genrlhf.rewards.weighted import check_arguments
from genrlhf.sampling.comparable import refuse_reading_ahead
from genrlhf.trainers.card import MadeBy
from genrlhf.trainers.checkpoint import newest_complete_checkpoint
from genrlhf.trainers.checkpoint_files import flaw_of
from genrlhf.trainers.draws_groups import DrawsGroups
from genrlhf.trainers.group_draw import check_group_reward
from genrlhf.trainers.groups import Group, GroupFiles
from genrlhf.trainers.objective import Objective, ObjectiveLike, as_objective
from genrlhf.trainers.objective_state import as_given
from genrlhf.trainers.own_code import named_errors
from genrlhf.trainers.run_folder import claim_output_dir
from genrlhf.trainers.sample_and_tune_config import SampleAndTuneConfig
from genrlhf.trainers.sharding import refuse_sharded_sampling
from genrlhf.trainers.shared import (
    check_prompt_rows,
    check_prompts,
    decided_by_main,
    device_for_trials,
    named_datasets,
    shorter,
    shows_bars,
)
from genrlhf.trainers.transforms import Round, as_transform
from genrlhf.trainers.tuners import PairTuner, SupervisedTuner, every_group, kind_of, pairwise_args, tuner_in
from genrlhf.trainers.tuning_rows import Tune, load_rows, save_rows, tokenised, tuning_rows

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedTokenizerBase
    from transformers.trainer_utils import TrainOutput

    from genrlhf.types import GroupRewardFunction, Sampler

__all__ = ["SampleAndTuneTrainer"]


class SampleAndTuneTrainer(DrawsGroups):
    """Draws n completions of every training prompt, transforms them into rows, and fine-tunes on these; again.

    Everything that is drawn is kept in `output_dir`, one line a prompt, and not drawn again; so are the rows that the
    transform makes of it. Each of several iterations has a folder `iteration-K` there, and begins with the last one's
    model.

    Args:
        model: the policy: a name, a folder or a module.
        args: the settings.
        train_dataset: rows with a `prompt`, text or messages; further columns reach reward and transform.
        transform: `groups -> rows`, a function of a list of `Group`, or a `Transform`, which may say more: the same
            rows for the same groups. Rows hold what `tune` asks for: `prompt` and `completion`; `prompt`, `completions`
            and `rewards`; or `prompt`, `chosen` and `rejected`. A completion is text, messages, or one of a group's,
            which is trained as it was sampled. May return a `TuningRows` to say why groups gave none. None ranks all
            completions, where `tune` is "ranking". With a method `ask(prompt, row)` it says how the sampler is asked
            for the training set; groups have the prompt itself.
        tune: "supervised" (`SFTTrainer`), "ranking" (the same, by an objective of groups), or "pairwise" (`DPOTrainer`,
            against the model that the iteration began with). By default what the transform names as its `tune`, or what
            the objective's unit asks for.
        reward: as `PPOTrainer` takes it; None where the transform needs none.
        objective: of the fine-tuning, see `SFTTrainer`; by default the transform's, or the cross-entropy.
        sampler: draws in place of the policy, such as a `ServerSampler`. Its completions are trained as text, and it is
            not what is trained: there is one iteration.
        eval_dataset: prompts, or a dictionary of several sets, for `evaluate`.
        processing_class: the policy's tokenizer; by default the one saved with it.
        reward_processing_class: the reward model's tokenizer; by default the one saved with it.
        peft_config: tune an adapter of this kind instead of the model itself.
        callbacks: further callbacks of the fine-tuning.
        group_reward: makes the rewards that the transform reads of those of a prompt's n completions, which it sees
            together, as `PPOTrainer` takes it; None for none. `missing_eos_score`, `missing_eos_penalty` come before.

    Attributes:
        tuner: the trainer of the last iteration; None before the first.

    Raises:
        DataError: for data that cannot be used, naming the row.
        ModelError: for a model that is no causal language model, or a reward model with more than one label.
        ConfigError: for settings that cannot work together.
    """

    made_by = MadeBy("sample_and_tune", "Sample and tune", "")
    _run_parts: dict[str, Any] | None = None
    _start: Any = None
    _files = GroupFiles()
    _keeps_rows = True
    _what = "samples"

    def __init__(
        self,
        model: str | PreTrainedModel | PeftModel | None,
        args: SampleAndTuneConfig | None = None,
        train_dataset: Dataset | None = None,
        transform: Callable[[list[Group]], Any] | None = None,
        tune: Tune | None = None,
        reward: RewardSource | None = None,
        objective: ObjectiveLike | None = None,
        sampler: Sampler | None = None,
        eval_dataset: Dataset | dict[str, Dataset] | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        reward_processing_class: PreTrainedTokenizerBase | None = None,
        peft_config: PeftConfig | None = None,
        callbacks: list[TrainerCallback] | None = None,
        group_reward: GroupRewardFunction | None = None,
    ) -> None:
        self.args = args if args is not None else SampleAndTuneConfig("sample_and_tune")
        if sampler is None:
            refuse_sharded_sampling(self.args, f"{type(self).__name__} without a sampler=")
        self.group_reward = as_group_reward(group_reward)
        check_group_reward(self.group_reward, self.args.n, has_reward=reward is not None)
        given = objective if objective is not None else getattr(transform, "objective", None)
        self.objective: Objective | None = as_objective(given)
        self.tune = kind_of(tune, transform, self.objective)
        self.transform = as_transform(every_group if transform is None else transform)
        self.transform.check_settings(self.args)
        grouped = None if self.group_reward is None else self.group_reward.function
        self._given = {
            "transform": transform,
            "tune": self.tune,
            "objective": given,
            "sampler": sampler,
            "group_reward": grouped,
        }
        if self.tune == "pairwise":
            pairwise_args(self.args)
        refuse_adapter_with_frozen_layers(self.args.freeze_layers, peft_config, model)
        refuse_unmergeable(peft_config)
        self._load(model, processing_class, sampler)
        if self.model is not None and train_dataset is not None:
            # Fine-tuning would refuse it, once samples had been drawn and scored.
            refuse_reading_ahead(self.model, device=device_for_trials(self.args))
        self.sampler = sampler
        self.reward: Any = None
        if reward is not None:
            self.reward = load_reward(
                reward,
                tokenizer=reward_processing_class,
                batch_size=self.args.reward_batch_size,
                device=self.args.device,
                trust_remote_code=self.args.trust_remote_code,
            )
        self.train_dataset, self.eval_dataset = train_dataset, eval_dataset
        self.peft_config, self.callbacks = peft_config, callbacks
        self.tuner: SupervisedTuner | PairTuner | None = None
        self._base_name = str(getattr(getattr(self.model, "config", None), "_name_or_path", ""))
        named = named_datasets(train_dataset, eval_dataset)
        if train_dataset is not None and "prompt" in train_dataset.column_names:
            self.transform.check(train_dataset)
        for name, dataset in named:
            self._check(dataset, name)

    @staticmethod
    def check_functions(args: SampleAndTuneConfig, **functions: Any) -> None:
        """Raise `ConfigError` where a `transform`, an `objective` or a `group_reward` cannot go with settings."""
        check_group_reward(as_group_reward(functions.get("group_reward")), args.n)
        transform, objective = functions.get("transform"), functions.get("objective")
        given = objective if objective is not None else getattr(transform, "objective", None)
        kind = kind_of(functions.get("tune"), transform, as_objective(given))
        if transform is not None:
            as_transform(transform).check_settings(args)
        if kind == "pairwise":
            pairwise_args(args)

    def _load(self, model: Any, processing_class: Any, sampler: Any) -> None:
        trust = self.args.trust_remote_code
        if model is None and sampler is None:
            raise ConfigError("model is None, and there is no sampler; give one of them.")
        self.model: Any = None
        self.processing_class: Any = processing_class
        if model is not None:
            loaded = load_causal_lm(model, model_init_kwargs=self.args.model_init_kwargs, trust_remote_code=trust)
            self.processing_class = load_tokenizer(
                model if isinstance(model, str) else loaded, processing_class, trust_remote_code=trust
            )
            if self.args.eos_token is not None:
                set_eos_token(self.processing_class, loaded, self.args.eos_token)
            ensure_pad_token(self.processing_class, loaded, wanted=self.args.pad_token)
            self.model = loaded.to(self.args.device)

    def _check(self, dataset: Dataset, source: str) -> None:
        if self.reward is not None:
            check_arguments(self.reward, dataset.column_names)
        if self.group_reward is not None:
            self.group_reward.check_columns(dataset.column_names, source=source)
        if self.model is None:
            check_prompt_rows(dataset, source)
            return
        if source == "train_dataset" and self._ask is not None:
            dataset = dataset.map(lambda row: {"prompt": self._ask(row["prompt"], row)})
        options: dict[str, Any] = {"tokenizer": self.processing_class, "max_new_tokens": self.args.max_new_tokens}
        check_prompts(dataset, source, model=self.model, progress=shows_bars(self.args), **options)

    def _round(self, iteration: int) -> Round:
        earlier = tuple(self._rounds.folder(number) for number in range(iteration))
        given = self.model, self.processing_class, self.args, self._seed(iteration)
        return Round(self._rounds.folder(iteration), iteration, earlier, *given)

    def sample_training_set(self, iteration: int = 0) -> Dataset:
        """Return what is tuned on: the rows that the transform makes of the iteration's groups, with their tokens."""
        groups = self.sample_groups(iteration)
        file = self._rounds.rows(iteration)

        def rows() -> list[dict[str, Any]]:
            there = load_rows(file) if self._keeps_rows else []
            if there:
                return there
            with named_errors("The transform"):
                found = self.transform.in_round(self._round(iteration))(self._by_rule(groups))
                made = tuning_rows(found, self.tune, len(groups), own=self._encodes)
            if not self._keeps_rows:
                return made
            save_rows(file, made)
            return load_rows(file)

        return tokenised(
            # On one process: a transform may ask a server, or leave something to chance.
            decided_by_main(rows),
            self.tune,
            self.processing_class,
            columns=() if self.objective is None else self.objective.columns,
            weight_column=self.args.weight_column,
            train_cut_off=self.args.train_cut_off,
            what=self._what,
            objective=self.objective,
            max_length=shorter(self.args.max_length, context_length(self.model)) if self._encodes else None,
        )

    @property
    def _encodes(self) -> bool:
        return self.objective is not None and self.objective.encodes

    def _by_rule(self, groups: list[Group]) -> list[Group]:
        """Return groups with the rewards that a transform reads: by the rule for those cut off, or of the group."""
        rule = self.args.cut_off_rule

        def ruled(group: Group) -> Group:
            if group.group_rewards is not None:
                return replace(group, rewards=group.group_rewards)
            ended = [completion.ended for completion in group.completions]
            return replace(group, rewards=rule.of_rewards(group.rewards, ended).tolist())

        return groups if self.reward is None else [ruled(group) for group in groups]

    def train(self, resume_from_checkpoint: str | bool | None = None) -> TrainOutput:
        """Draw, transform and fine-tune, `num_iterations` times; return the steps of all, and the last one's figures.

        Cut off at any point, the same command goes on: with the prompts that have no line yet where nothing was tuned,
        and with `resume_from_checkpoint=True` from the newest checkpoint that is whole; iterations that have ended are
        not done again.

        Raises:
            RunFolderError: where `output_dir` holds a run with other settings.
            CheckpointError: where a checkpoint or the samples cannot be written, or there is nothing to go on with.
            DataError: where the transform makes no rows.
        """
        self._refuse_to_train(resume_from_checkpoint)
        resuming = bool(resume_from_checkpoint)
        replaced = claim_output_dir(
            self,
            base_model=self._base_name,
            resuming=resuming,
            data=self.train_dataset,
            reward=self.reward,
            arguments=self._given,
            clear=self._rounds.clear,
        )
        if replaced and resuming:
            decided_by_main(self._rounds.remove_rows)
        if resume_from_checkpoint is True and not decided_by_main(self._rounds.has_begun):
            raise CheckpointError(
                f"There is no complete checkpoint in {self.args.output_dir}, and there are no samples; leave "
                "resume_from_checkpoint out to start anew."
            )
        if resuming and resume_from_checkpoint is not True:
            flaw = decided_by_main(lambda: flaw_of(Path(str(resume_from_checkpoint))))
            if flaw is not None:
                raise CheckpointError(f"{resume_from_checkpoint} {flaw}; resume from another checkpoint.")
        steps = 0
        for iteration in range(self.args.num_iterations):
            result = self._train_once(iteration, resume_from_checkpoint)
            steps += result.global_step
        if self.args.save_strategy != "no":
            self.save_model()
            PartialState().wait_for_everyone()
        return result._replace(global_step=steps)

    def _refuse_to_train(self, resume_from_checkpoint: Any) -> None:
        """Raise `ConfigError` for what training cannot be done with."""
        if self.model is None:
            raise ConfigError("train() needs a policy to tune; give a model beside the sampler.")
        if self.sampler is not None and self.args.num_iterations > 1:
            raise ConfigError(
                f"num_iterations is {self.args.num_iterations}, and the sampler goes on drawing from the model that it "
                "has, not from the one that is tuned; set it to 1, or leave the sampler out."
            )
        if resume_from_checkpoint not in (None, False, True) and self.args.num_iterations > 1:
            raise ConfigError(
                "With num_iterations above 1, resume_from_checkpoint must be True, which finds its place."
            )

    def _train_once(self, iteration: int, resume_from_checkpoint: str | bool | None) -> TrainOutput:
        folder = self._rounds.folder(iteration)
        if resume_from_checkpoint is True:
            # Without a whole one the samples are what a start goes on with.
            newest = decided_by_main(lambda: newest_complete_checkpoint(folder))
            resume_from_checkpoint = None if newest is None else str(newest)
        self.tuner = tuner_in(
            folder,
            self.args,
            tune=self.tune,
            rows=self.sample_training_set(iteration),
            objective=as_given(self.objective),
            model=self.model,
            processing_class=self.processing_class,
            peft_config=None if hasattr(self.model, "peft_config") else self.peft_config,
            callbacks=self.callbacks,
        )
        if isinstance(self.tuner, SupervisedTuner):
            # The model as the first iteration found it.
            self._start = self.tuner._start = self._start or self.tuner._start
        # Its card is that of the whole.
        self.tuner.made_by, self.tuner._run_parts = self.made_by, self._run_parts
        self.tuner.asking = getattr(self.transform, "asking", None) or self.tuner.asking
        result: TrainOutput = self.tuner.train(resume_from_checkpoint=resume_from_checkpoint)
        self.model = self.tuner.accelerator.unwrap_model(self.tuner.model)
        return result

    def save_model(self, output_dir: str | None = None) -> None:
        """Save the policy, with its tokenizer, where plain transformers loads it; `output_dir` by default."""
        target = output_dir if output_dir is not None else self.args.output_dir
        if self.tuner is not None:
            self.tuner.save_model(str(target))
        elif self.args.should_save:
            self.model.save_pretrained(target)
            self.processing_class.save_pretrained(target)
