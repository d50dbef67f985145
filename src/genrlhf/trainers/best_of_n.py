"""Best-of-N sampling, and its distillation into the policy."""

from __future__ import annotations

import copy
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import PreTrainedModel, TrainerCallback

from genrlhf.data.chat import prompts_of
from genrlhf.errors import CheckpointError, ConfigError, DataError
from genrlhf.models import ensure_pad_token, load_causal_lm, load_tokenizer
from genrlhf.models.adapter_base import refuse_unmergeable
from genrlhf.models.model_set import refuse_adapter_with_frozen_layers
from genrlhf.models.tokens import set_eos_token
from genrlhf.rewards import RewardSource, load_reward
from genrlhf.rewards.signatures import RESERVED
from genrlhf.rewards.weighted import check_arguments
from genrlhf.sampling import TransformersSampler
from genrlhf.sampling.choose import sample_seeds
from genrlhf.sampling.habits import refuse_reading_ahead
from genrlhf.trainers.best_of_n_choice import best_of_n_figures, choose, rewards_of
from genrlhf.trainers.best_of_n_config import BestOfNConfig
from genrlhf.trainers.best_of_n_file import BestOfNOutput, append_outputs, has_outputs, read_outputs, remove_outputs
from genrlhf.trainers.card import MadeBy
from genrlhf.trainers.checkpoint import checkpoints_in, discard, newest_complete_checkpoint
from genrlhf.trainers.checkpoint_files import flaw_of
from genrlhf.trainers.distillation import distillation_rows
from genrlhf.trainers.run_folder import claim_output_dir
from genrlhf.trainers.sft import SFTTrainer
from genrlhf.trainers.shared import (
    check_name,
    check_prompt_rows,
    check_prompts,
    decided_by_main,
    device_for_trials,
    named_datasets,
    shows_bars,
)

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedTokenizerBase
    from transformers.trainer_utils import TrainOutput

    from genrlhf.types import Sampler

__all__ = ["BestOfNOutput", "BestOfNTrainer"]


class _Distillation(SFTTrainer):
    """SFT in a folder that its `BestOfNTrainer` has claimed already, and in which that one leaves the model."""

    leaves_model = False

    def _claim_output_dir(self, resuming: bool) -> None:
        return None


class BestOfNTrainer:
    """Draws n completions of a prompt and takes the one with the highest reward.

    `generate` does this for given prompts (Stiennon et al. 2020, section 4.3; Nakano et al. 2021). `train` does it for
    the training prompts, keeps all samples in `output_dir`, and fine-tunes the policy on the best ones, so that one
    sample of it comes near the best of n.

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
    _run_parts: dict[str, Any] | None = None

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
    ) -> None:
        self.args = args if args is not None else BestOfNConfig("best_of_n")
        refuse_adapter_with_frozen_layers(self.args.freeze_layers, peft_config, model)
        refuse_unmergeable(peft_config)
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
        self.sampler = sampler
        self.reward = load_reward(
            reward,
            tokenizer=reward_processing_class,
            batch_size=self.args.reward_batch_size,
            device=self.args.device,
            trust_remote_code=trust,
        )
        self.train_dataset = train_dataset
        self.eval_dataset = eval_dataset
        self.peft_config = peft_config
        self.callbacks = callbacks
        self.distillation: SFTTrainer | None = None
        self._base_name = str(getattr(getattr(self.model, "config", None), "_name_or_path", ""))
        for name, dataset in named_datasets(train_dataset, eval_dataset):
            self._check(dataset, name)

    def _check(self, dataset: Dataset, source: str) -> None:
        check_arguments(self.reward, dataset.column_names)
        if self.model is None:
            check_prompt_rows(dataset, source)
            return
        options: dict[str, Any] = {"tokenizer": self.processing_class, "max_new_tokens": self.args.max_new_tokens}
        check_prompts(dataset, source, model=self.model, progress=shows_bars(self.args), **options)

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
        return self._generate(prompts, columns, self.args.seed if seed is None else seed)

    def _generate(
        self, prompts: Sequence[Any], columns: dict[str, Sequence[Any]], seed: int, *, shared: bool = False
    ) -> list[BestOfNOutput]:
        """Return the output of every prompt; `shared` has each of several processes draw its part of them."""
        state = PartialState()
        every = range(len(prompts))
        rows = every[state.process_index :: state.num_processes] if shared else every
        by_row = [
            (row, output)
            for chunk, outputs in self._batches(prompts, columns, rows, seed)
            for row, output in zip(chunk, outputs, strict=True)
        ]
        return [output for _, output in sorted(gather_object(by_row) if shared else by_row, key=itemgetter(0))]

    def _batches(
        self,
        prompts: Sequence[Any],
        columns: dict[str, Sequence[Any]],
        rows: Sequence[int],
        seed: int,
        done: Container[int] = (),
    ) -> Iterator[tuple[Sequence[int], list[BestOfNOutput]]]:
        """Yield the outputs of `rows` that are not `done`, as many at a time as are scored together."""
        sampler = self.sampler
        if sampler is None:
            sampler = TransformersSampler(self.model, self.processing_class, batch_size=self.args.sampling_batch_size)
        n = self.args.n
        group_size = max(1, min(self.args.sampling_batch_size, self.args.reward_batch_size) // n)
        places = {place for place, row in enumerate(rows) if row in done}
        asked = prompts_of({"prompt": prompts, **columns})
        stream = sampler.stream(
            [asked[row] for row in rows], n, self.args.sampling_params, seed, rows=rows, done=places
        )
        fresh = ((place, samples) for place, samples in stream if place not in places)
        with tqdm(total=len(rows) - len(places), desc=f"best of {n}", disable=self.args.disable_tqdm) as bar:
            while group := list(islice(fresh, group_size)):
                chunk = [rows[place] for place, _ in group]
                samples = [sample for _, drawn in group for sample in drawn]
                repeated = [prompts[row] for row in chunk for _ in range(n)]
                extra = {key: [values[row] for row in chunk for _ in range(n)] for key, values in columns.items()}
                rewards = rewards_of(self.reward, repeated, samples, extra)
                parts = (slice(i * n, (i + 1) * n) for i in range(len(chunk)))
                yield (
                    chunk,
                    [
                        choose(prompts[row], samples[part], rewards[part], self.args, seed=seed, row=row)
                        for row, part in zip(chunk, parts, strict=True)
                    ],
                )
                bar.update(len(chunk))

    def sample_training_set(self, iteration: int = 0) -> Dataset:
        """Return the best of n for every training prompt: `prompt`, `completion`, `reward`, `ended` and its tokens.

        The samples are appended to `best_of_n-….jsonl` in the iteration's folder as they come; what an earlier start
        has written there is not sampled again. Several processes share the work.
        """
        if self.train_dataset is None:
            raise ConfigError("train() needs prompts; pass train_dataset to BestOfNTrainer.")
        dataset, folder, state = self.train_dataset, self._folder(iteration), PartialState()
        columns = {name: dataset[name] for name in dataset.column_names}
        prompts = list(columns.pop("prompt"))
        there = read_outputs(folder, prompts) if state.is_main_process else {}
        state.wait_for_everyone()
        there = there or read_outputs(folder, prompts)
        rows = range(state.process_index, len(prompts), state.num_processes)
        seed = self.args.seed if iteration == 0 else sample_seeds(self.args.seed, [iteration], 1)[0]
        file = folder / f"best_of_n-{state.process_index}.jsonl"
        for chunk, outputs in self._batches(prompts, columns, rows, seed, done=there):
            append_outputs(file, chunk, outputs)
        state.wait_for_everyone()
        best = sorted(read_outputs(folder, prompts).items())
        asked = prompts_of({"prompt": prompts, **columns})
        return distillation_rows(
            self.processing_class,
            [asked[row] for row, _ in best],
            [output for _, output in best],
            train_cut_off=self.args.train_cut_off,
        )

    def _folder(self, iteration: int) -> Path:
        folder = Path(self.args.output_dir)
        return folder if self.args.num_iterations == 1 else folder / f"iteration-{iteration}"

    def train(self, resume_from_checkpoint: str | bool | None = None) -> TrainOutput:
        """Sample the best of n for every training prompt and fine-tune the policy on them, `num_iterations` times.

        This is rejection-sampling fine-tuning (Touvron et al. 2023, "Llama 2", section 3.2.3; Dong et al. 2023,
        "RAFT"). Each of several iterations has a folder `iteration-K` in `output_dir`; resumed, those that have ended
        are not done again.

        Raises:
            RunFolderError: where `output_dir` holds a run with other settings.
            CheckpointError: where a checkpoint or the samples cannot be written, or there is nothing to go on with.
        """
        if self.model is None or self.sampler is not None:
            raise ConfigError("train() samples from the policy that it trains; give a model, and no sampler.")
        if resume_from_checkpoint not in (None, False, True) and self.args.num_iterations > 1:
            raise ConfigError(
                "With num_iterations above 1, resume_from_checkpoint must be True, which finds its place."
            )
        # Before samples are drawn and scored, as all that follows: fine-tuning would refuse it.
        refuse_reading_ahead(self.model, device=device_for_trials(self.args))
        resuming = bool(resume_from_checkpoint)
        claim_output_dir(
            self,
            base_model=self._base_name,
            resuming=resuming,
            data=self.train_dataset,
            reward=self.reward,
            clear=self._clear,
        )
        if resume_from_checkpoint is True and not decided_by_main(self._has_begun):
            raise CheckpointError(
                f"There is no complete checkpoint in {self.args.output_dir}, and there are no samples; leave "
                "resume_from_checkpoint out to start anew."
            )
        if resuming and resume_from_checkpoint is not True:
            flaw = decided_by_main(lambda: flaw_of(Path(str(resume_from_checkpoint))))
            if flaw is not None:
                raise CheckpointError(f"{resume_from_checkpoint} {flaw}; resume from another checkpoint.")
        for iteration in range(self.args.num_iterations):
            result = self._train_once(iteration, resume_from_checkpoint)
        if self.args.save_strategy != "no":
            self.save_model()
            PartialState().wait_for_everyone()
        return result

    def _folders(self) -> list[Path]:
        return [self._folder(iteration) for iteration in range(self.args.num_iterations)]

    def _clear(self) -> None:
        """Delete what another run has left."""
        for folder in self._folders():
            remove_outputs(folder)
            for checkpoint in checkpoints_in(folder).values():
                discard(checkpoint)

    def _has_begun(self) -> bool:
        return any(has_outputs(folder) or checkpoints_in(folder) for folder in self._folders())

    def _train_once(self, iteration: int, resume_from_checkpoint: str | bool | None) -> TrainOutput:
        folder = self._folder(iteration)
        if resume_from_checkpoint is True:
            # Without a whole one the samples are what a start goes on with.
            newest = decided_by_main(lambda: newest_complete_checkpoint(folder))
            resume_from_checkpoint = None if newest is None else str(newest)
        args = copy.copy(self.args)
        args.output_dir = str(folder)
        self.distillation = _Distillation(
            model=self.model,
            args=args,
            train_dataset=self.sample_training_set(iteration),
            processing_class=self.processing_class,
            peft_config=None if hasattr(self.model, "peft_config") else self.peft_config,
            callbacks=self.callbacks,
        )
        # Its card is that of the whole.
        self.distillation.made_by, self.distillation._run_parts = self.made_by, self._run_parts
        result: TrainOutput = self.distillation.train(resume_from_checkpoint=resume_from_checkpoint)
        self.model = self.distillation.accelerator.unwrap_model(self.distillation.model)
        return result

    def evaluate(
        self, eval_dataset: Dataset | dict[str, Dataset] | str | None = None, *, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Return the mean reward of the best of n and of a single sample, and the KL that choosing costs at most.

        Keys: `eval_reward/best`, `eval_reward/mean`, `eval_kl/bound` (log n − (n − 1)/n, in nats); and, for m = 2, 4, …
        below n, what the best of m of the same samples has (see `best_of_n_weights`): `eval_reward/best_of_m`,
        `eval_kl/bound_of_m`. All are means over prompts, which several processes share among them.
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
        columns = {name: dataset[name] for name in dataset.column_names}
        outputs = self._generate(columns.pop("prompt"), columns, self.args.seed + 1, shared=True)
        return {f"{metric_key_prefix}_{name}": value for name, value in best_of_n_figures(outputs, self.args).items()}

    def save_model(self, output_dir: str | None = None) -> None:
        """Save the policy, with its tokenizer, where plain transformers loads it; `output_dir` by default."""
        target = output_dir if output_dir is not None else self.args.output_dir
        if self.distillation is not None:
            self.distillation.save_model(str(target))
        elif self.args.should_save:
            self.model.save_pretrained(target)
            self.processing_class.save_pretrained(target)


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
