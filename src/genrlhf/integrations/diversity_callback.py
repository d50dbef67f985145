"""Diversity while a model is trained, by any Trainer of transformers or TRL."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import Trainer, TrainerCallback

from genrlhf.data.asking import Asking
from genrlhf.data.log import claim_file, replace_records, said_when_full
from genrlhf.errors import ConfigError, excerpt
from genrlhf.integrations.callback.host import (
    asking_of_trainer,
    calling_trainer,
    check_model,
    language_model,
    root_model,
    sampling_tokenizer,
)
from genrlhf.integrations.callback.measuring import check_prompts_fit, draw, measure
from genrlhf.integrations.callback.schedule import Schedule, check_every
from genrlhf.integrations.callback.settings import PREFIX, Settings, named_metrics, rows_of
from genrlhf.integrations.callback.tables import log_tables
from genrlhf.integrations.callback.undisturbed import evaluating, random_states_kept, synchronised
from genrlhf.models.processes import decided_by_main, gathered
from genrlhf.rewards import load_reward
from genrlhf.rewards.weighted import check_arguments
from genrlhf.types import DiversityMetric, RewardFunction, SamplingParams

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase, TrainerControl, TrainerState, TrainingArguments

    from genrlhf.rewards import RewardSource

__all__ = ["DiversityCallback"]

logger = logging.getLogger(__name__)

FOLDER = "diversity"
EARLIER = "earlier"


class DiversityCallback(TrainerCallback):
    """Samples the model that is trained, measures how diverse its outputs are, and logs it.

    It does so before the first step, at the end, and between, for any Trainer of transformers or TRL that trains a
    decoder-only language model. The training is the same to the bit with and without it. Figures are logged as
    `diversity/…` by the Trainer itself; the outputs are kept in `output_dir/diversity/step-N.jsonl`.

    Args:
        prompts: texts, conversations, or rows (a `datasets.Dataset` or a list) with a `prompt`, whose other columns
            reward and verifier may use.
        n: completions of every prompt; the same random numbers each time, so that figures differ by the weights.
        metrics: names of `genrlhf diversity`, or objects of `genrlhf.metrics`.
        every: a whole number: steps from one sample to the next, 0 for the start and the end alone. A number between 0
            and 1: the share of the run's time that sampling may take; the samples at the start and at the end are
            counted in it, but made in any case.
        params: how completions are drawn; by default up to 48 tokens from the model's own distribution.
        seed: of the completions.
        reward: scores completions, as `PPOTrainer` takes it; its mean is logged as `diversity/reward`.
        verifier: a callable of `prompts` and `completions` (and columns) that returns True or False for each; the share
            that is valid, and that of different valid ones, are logged.
        stop_below: figures by name, such as `{"per_input/ead": 0.2}`: the run is stopped where one falls below.
        tokenizer: by default the Trainer's `processing_class`.
        batch_size: completions drawn at a time.
        asking: what stands around each prompt when the model is asked. True for what the Trainer's method puts there
            and leaves beside the model as `genrlhf_asking.json`; False for nothing; or an `Asking`. Rewards, verifiers
            and files have the prompt without it.
        table_prompts: prompts whose completions go to W&B, trackio or TensorBoard as a table; 0 for none.

    Raises:
        ConfigError: for arguments that cannot be; once training begins, for a run that it cannot sample.
        DataError: for prompts that cannot be used; once training begins, for one too long for the model's context.
        ModelError: once training begins, for a model that writes no text.

    Example:
        >>> from genrlhf.integrations import DiversityCallback
        >>> callback = DiversityCallback(["Once upon a time", "The weather"], n=4, every=100, stop_below={
        ...     "per_input/ead": 0.2})
    """

    def __init__(
        self,
        prompts: Dataset | Sequence[Any],
        n: int = 8,
        metrics: Sequence[str | DiversityMetric] | Mapping[str, DiversityMetric] = ("ead",),
        every: int | float = 0.02,
        *,
        params: SamplingParams | None = None,
        seed: int = 0,
        reward: RewardSource | None = None,
        verifier: Any = None,
        stop_below: Mapping[str, float] | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        batch_size: int = 128,
        table_prompts: int = 8,
        asking: Asking | bool = True,
    ) -> None:
        check_every(every)
        if not isinstance(asking, (bool, Asking)):
            raise ConfigError(f"asking is {excerpt(asking)}; give True, False or an Asking of genrlhf.data.asking.")
        self.asking = asking
        self.every = every
        self.tokenizer = tokenizer
        self.settings = Settings(
            rows=rows_of(prompts),
            n=n,
            metrics=named_metrics(metrics),
            params=SamplingParams() if params is None else params,
            seed=seed,
            reward=reward,
            verifier=verifier,
            stop_below=dict(stop_below or {}),
            batch_size=batch_size,
            table_prompts=table_prompts,
        )
        self._run: _Run | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Check that the run can be sampled, and sample it; one that goes on is not sampled again at its step."""
        self._run = _Run.of(calling_trainer(), self.settings, self.tokenizer, self.every, self.asking)
        if self._run.begin(state.global_step):
            self._run.sample_once(state, control)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Sample where it is time, and after the last step."""
        run = self._run
        if run is not None and (run.is_last(state, control) or run.schedule.is_due(state.global_step)):
            run.sample_once(state, control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Sample where something else has stopped the run; loggers end with the training."""
        if self._run is not None and self._run.is_last(state, control):
            self._run.sample_once(state, control)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Sample at the end of a run of which no event before has told that it was the end."""
        if self._run is not None:
            run, self._run = self._run, None
            run.sample_once(state, control)


@dataclass
class _Run:
    """One training of one Trainer.

    Attributes:
        trainer: samples are logged by it.
        settings: what is sampled.
        tokenizer: of the model.
        schedule: when.
        reward: as it is called.
        verifier: likewise.
        asking: what stands around each prompt.
        folder: for outputs.
        sampled: the step of the newest sample.
        told: remarks that were made.
    """

    trainer: Trainer
    settings: Settings
    tokenizer: PreTrainedTokenizerBase
    schedule: Schedule
    reward: RewardFunction | None
    verifier: RewardFunction | None
    asking: Asking | None
    folder: Path
    sampled: int | None = None
    told: set[str] = field(default_factory=set)

    @classmethod
    def of(
        cls, trainer: Trainer, settings: Settings, tokenizer: Any, every: int | float, asking: Asking | bool
    ) -> _Run:
        """Return the run of a Trainer, once it is known that it can be sampled."""
        found = sampling_tokenizer(trainer, tokenizer)
        around = asking_of_trainer(trainer) if asking is True else (asking or None)
        with random_states_kept(), evaluating(root_model(trainer)):
            check_model(trainer)
            check_prompts_fit(language_model(trainer), found, settings, around)
            options: dict[str, Any] = {"batch_size": settings.batch_size, "device": trainer.args.device}
            reward, verifier = (
                None if given is None else load_reward(given, **options)
                for given in (settings.reward, settings.verifier)
            )
        for each in (reward, verifier):
            if each is not None:
                check_arguments(each, settings.columns)
        schedule = Schedule(every, decided_by_main)
        folder = Path(trainer.args.output_dir) / FOLDER
        return cls(trainer, settings, found, schedule, reward, verifier, around, folder)

    def begin(self, step: int) -> bool:
        """Take possession of the folder, and say whether this step is still to be sampled."""
        self.schedule.start(step)
        there = decided_by_main(lambda: self._claim(step))
        self.sampled = step if there else None
        return not there

    def _claim(self, step: int) -> bool:
        """Return whether the outputs of a step that a run goes on from are there; put aside what lies ahead of it.

        That was sampled from weights that this run is never going to have.
        """
        claim = partial(
            claim_file,
            self.folder / "settings.json",
            {**self.settings.described(), "asking": None if self.asking is None else vars(self.asking)},
            place=self.folder,
            act="go on",
            remedy="Give DiversityCallback the same prompts and settings, or remove the folder.",
            overwrite=step == 0,
        )
        claim(write=False)
        for number, file in self._files().items():
            if step == 0 or number > step:
                with said_when_full(file):
                    (self.folder / EARLIER).mkdir(exist_ok=True)
                    file.replace(self.folder / EARLIER / file.name)
        claim(write=True)
        return step in self._files()

    def _files(self) -> dict[int, Path]:
        """Return the files of outputs by their step; each is whole, since it got its name when it was."""
        found = {file.name[len("step-") : -len(".jsonl")]: file for file in self.folder.glob("step-*.jsonl")}
        return {int(number): file for number, file in found.items() if number.isascii() and number.isdigit()}

    def is_last(self, state: TrainerState, control: TrainerControl) -> bool:
        """Say whether no step follows."""
        return bool(control.should_training_stop) or (0 < state.max_steps <= state.global_step)

    def sample_once(self, state: TrainerState, control: TrainerControl) -> None:
        """Sample a step that has not been, and stop the run where a figure has fallen below its floor."""
        if self.sampled == state.global_step:
            return
        floors = self._sample(state, control)
        if floors and state.global_step == 0:
            raise ConfigError(
                f"Before the first step {' and '.join(floors)}: the run would stop at once. Lower it in stop_below."
            )
        if floors:
            logger.warning("Training stops after step %d: %s.", state.global_step, " and ".join(floors))
            control.should_training_stop = True

    def _sample(self, state: TrainerState, control: TrainerControl) -> list[str]:
        """Sample, measure, keep and log; return which figures lie below their floors, in words."""
        step = self.sampled = state.global_step
        with random_states_kept():
            synchronised()
            start = time.perf_counter()
            records = gathered(lambda: draw(self.trainer, self.tokenizer, self.settings, self.asking))
            rows, figures = decided_by_main(lambda: self._measured(records, step))
            self.schedule.took(time.perf_counter() - start)
            floors = [
                f"{name} is {figures[PREFIX + name]:.4g}, below the floor of {floor:g}"
                for name, floor in self.settings.stop_below.items()
                if figures.get(PREFIX + name, floor) < floor
            ]
            figures |= {f"{PREFIX}seconds": self.schedule.last, **({f"{PREFIX}stopped": 1.0} if floors else {})}
            # Logging takes the wish to log back, which may be the Trainer's own at this step.
            should_log = control.should_log
            # Not by the trainer's own method: TRL's adds, and then forgets, the means of its losses so far.
            Trainer.log(self.trainer, figures)
            control.should_log = should_log
            if state.is_world_process_zero:
                log_tables(self.trainer, rows[: self.settings.table_prompts], step)
        return floors

    def _measured(self, records: list[dict[str, Any]], step: int) -> tuple[list[dict[str, Any]], dict[str, float]]:
        """Write the outputs, and return them with the figures as they are logged."""
        rows, found = measure(records, self.settings, reward=self.reward, verifier=self.verifier, told=self.told)
        replace_records(self.folder / f"step-{step}.jsonl", rows)
        figures = {}
        for name, estimate in found.items():
            figures[PREFIX + name] = estimate.value
            if estimate.stderr == estimate.stderr:
                figures[f"{PREFIX}{name}_stderr"] = estimate.stderr
        return rows, figures
