"""The two sides of `ppo_vs_trl.py`: each builds its trainer, runs some steps and returns seconds and memory.

Both sides get the same prompts, the same policy and a reward model of the same size with the same weights below its
head. TRL's gets a value model of that kind as well, as it has to; ours has its value head on the policy. Embeddings, LM
head, final norm and the first layers are frozen by `genrlhf.models.freeze_layers` in each model that is trained.

Where `args.shape` names one of `_gpu_models.SHAPES`, the models are made there with random weights of `args.weights`.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from functools import wraps
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import _gpu_models
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback

from genrlhf.models import ensure_pad_token, freeze_layers, reset_score_head

WORDS = "the sea was calm and a boat with two old men came back to land in rain so they sat by fire"


class Clock(TrainerCallback):
    """The seconds and peaks of memory of every step, split into phases that follow on each other without gaps.

    A step begins where it begins to sample, and lasts until the next one does or the training ends.
    """

    def __init__(self) -> None:
        self.marks: list[tuple[str, float, float]] = []
        self.built_mib = 0.0
        self.peaks: dict[str, float] = {}

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Let the peak of memory be that of the steps, on a GPU."""
        self.built_mib = peak_mib()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def mark(self, phase: str) -> None:
        """Begin a phase, unless it has begun already."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if not self.marks or self.marks[-1][0] != phase:
            self._end_phase()
            self.marks.append((phase, time.perf_counter(), time.process_time()))

    def _end_phase(self) -> None:
        """Keep the peak of the phase that ends, on a GPU."""
        if torch.cuda.is_available() and self.marks:
            phase = self.marks[-1][0]
            self.peaks[phase] = max(self.peaks.get(phase, 0.0), peak_mib())
            torch.cuda.reset_peak_memory_stats()

    def between(self, function: Callable[..., Any], before: str | None, after: str | None) -> Callable[..., Any]:
        """Return `function` with a phase that begins before it, one that begins after it, or both."""

        @wraps(function)
        def marked(*args: Any, **kwargs: Any) -> Any:
            if before is not None:
                self.mark(before)
            result = function(*args, **kwargs)
            if after is not None:
                self.mark(after)
            return result

        return marked

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        self.mark("end")

    def seconds(self) -> dict[str, Any]:
        """Return the means of all steps but the first, or of the only one, every step's total, and `cores_busy`.

        `cores_busy` is processor time over time, in the steps that count. Where it is well below the number of threads
        on an otherwise equal run, something else was using the machine.
        """
        steps: list[dict[str, float]] = []
        for (phase, start, cpu), (_, end, cpu_end) in pairwise(self.marks):
            if phase == "sampling":
                steps.append({"sampling": 0.0, "scoring": 0.0, "training": 0.0, "cpu": 0.0})
            steps[-1][phase] += end - start
            steps[-1]["cpu"] += cpu_end - cpu
        counted = steps[1:] or steps
        mean = {name: sum(step[name] for step in counted) / len(counted) for name in counted[0]}
        cpu = mean.pop("cpu")
        total = sum(mean.values())
        return {
            "seconds": round(total, 3),
            **{f"{name}_seconds": round(value, 3) for name, value in mean.items()},
            "seconds_of_every_step": [round(sum(step.values()) - step["cpu"], 3) for step in steps],
            "cpu_seconds": round(cpu, 3),
            "cores_busy": round(cpu / total, 2),
            "built_mib": self.built_mib,
            "peak_mib": max(self.peaks.values(), default=peak_mib()),
            **{f"{name}_peak_mib": peak for name, peak in self.peaks.items()},
        }


def prompts(args: argparse.Namespace, tokenizer: Any) -> list[str]:
    """Return different texts of exactly as many tokens."""
    count, length = args.prompts * args.steps, args.prompt_tokens
    if args.shape is not None:
        return [tokenizer.decode(ids) for ids in _gpu_models.prompt_ids(args.shape, count, length)]
    generator, found = random.Random(0), []
    while len(found) < count:
        ids = tokenizer(" ".join(generator.choices(WORDS.split(), k=length)))["input_ids"][:length]
        text = tokenizer.decode(ids)
        if tokenizer(text)["input_ids"] == ids:
            found.append(text)
    return found


def language_model(args: argparse.Namespace) -> tuple[Any, Any]:
    """Return the policy and its tokenizer."""
    if args.shape is not None:
        policy = _gpu_models.causal_lm(args.shape, getattr(torch, args.weights))
        return policy, _gpu_models.tokenizer(args.shape)
    policy = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    return policy, AutoTokenizer.from_pretrained(args.model)


def classifier(args: argparse.Namespace, policy: Any, seed: int) -> Any:
    """Return a sequence classifier whose weights are those of the language model, but for its head."""
    if args.shape is not None:
        return _gpu_models.sequence_classifier(args.shape, policy.dtype, seed, like=policy)
    loaded = AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=1, dtype=torch.float32)
    torch.manual_seed(seed)
    reset_score_head(loaded)
    return loaded


def shared_settings(args: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Return the settings that have the same name on both sides."""
    return {
        "output_dir": folder,
        "per_device_train_batch_size": args.prompts // args.accumulation,
        "gradient_accumulation_steps": args.accumulation,
        "num_mini_batches": 1,
        "num_ppo_epochs": args.epochs,
        "temperature": 1.0,
        "learning_rate": 1.5e-5,
        "lr_scheduler_type": "constant",
        "gradient_checkpointing": False,
        "bf16": args.dtype == "bfloat16",
        "use_cpu": not torch.cuda.is_available(),
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def ours(args: argparse.Namespace) -> dict[str, Any]:
    """Sampling begins with the rollout and ends with the sampler; scoring ends with the rollout; the rest trains."""
    import genrlhf
    from genrlhf.trainers import PPOConfig, PPOTrainer

    policy, tokenizer = language_model(args)
    reward = classifier(args, policy, seed=1)
    ensure_pad_token(tokenizer, policy, reward)
    texts, clock = prompts(args, tokenizer), Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = PPOTrainer(
            model=policy,
            reward=reward,
            args=PPOConfig(
                **shared_settings(args, folder),
                num_rollouts=args.steps,
                freeze_layers=args.freeze_layers,
                max_new_tokens=args.new_tokens,
                min_new_tokens=args.new_tokens,
                missing_eos_score=None,
                sampling_batch_size=args.prompts,
                reward_batch_size=args.scoring_batch or args.prompts,
                max_grad_norm=0.0,  # TRL does not clip gradients
            ),
            train_dataset=Dataset.from_dict({"prompt": texts}),
            processing_class=tokenizer,
            reward_processing_class=tokenizer,
            callbacks=[clock],
        )
        collector, sampler = type(trainer.collector), type(trainer.collector.sampler)
        with (
            patch.object(collector, "collect", clock.between(collector.collect, "sampling", "training")),
            patch.object(sampler, "generate", clock.between(sampler.generate, None, "scoring")),
        ):
            trainer.train()
    if (
        trainer.buffer.rollout is None
        or int(trainer.buffer.rollout.completion_mask.sum()) != args.prompts * args.new_tokens
    ):
        raise RuntimeError("Our side drew completions of another length.")
    return {**clock.seconds(), "version": genrlhf.__version__}


def trl(args: argparse.Namespace) -> dict[str, Any]:
    """Sampling is `batch_generation`; scoring ends where the model that is trained first goes forward."""
    sys.path.insert(0, str(args.trl_path))
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    if args.dtype == "bfloat16":
        # `bf16=True` alone does not reach the Accelerator that TRL makes; `accelerate launch` would set this.
        os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16"
    import trl as package
    from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

    policy, tokenizer = language_model(args)
    reward, value = (classifier(args, policy, seed) for seed in (1, 2))
    ensure_pad_token(tokenizer, policy, reward, value)
    for model in (policy, value):
        freeze_layers(model, args.freeze_layers)
    texts, clock = prompts(args, tokenizer), Clock()
    rows = Dataset.from_dict({"input_ids": tokenizer(texts)["input_ids"]})
    drawn: list[torch.Tensor] = []
    generation, forward = clock.between(ppo_trainer.batch_generation, "sampling", "scoring"), ppo_trainer.forward

    def marked_generation(*given: Any) -> Any:
        sequences, scores = generation(*given)
        drawn.append(sequences[:, args.prompt_tokens :])
        return sequences, scores

    def marked_forward(model: Any, *given: Any) -> Any:
        if model is trainer.model:
            clock.mark("training")
        return forward(model, *given)

    with tempfile.TemporaryDirectory() as folder:
        trainer = PPOTrainer(
            args=PPOConfig(
                **shared_settings(args, folder),
                total_episodes=args.prompts * args.steps,
                response_length=args.new_tokens,
                stop_token=None,  # EOS does not end a completion
                missing_eos_penalty=None,
                local_rollout_forward_batch_size=args.scoring_batch or args.prompts,
                num_sample_generations=0,
            ),
            processing_class=tokenizer,
            model=policy,
            ref_model=None,
            reward_model=reward,
            value_model=value,
            train_dataset=rows,
            eval_dataset=rows.select([0]),  # its constructor wants one; nothing is evaluated
            callbacks=[clock],
        )
        with (
            patch.object(ppo_trainer, "batch_generation", marked_generation),
            patch.object(ppo_trainer, "forward", marked_forward),
        ):
            trainer.train()
    # A model with random weights draws every token now and then, padding too.
    most = 0.0 if args.shape is None else 0.05
    if any(ids.shape[1] != args.new_tokens or (ids == tokenizer.pad_token_id).double().mean() > most for ids in drawn):
        raise RuntimeError("TRL's side drew completions of another length.")
    return {**clock.seconds(), "version": package.__version__}


def peak_mib() -> float:
    """Return the highest memory so far: allocated on the GPU, since the steps began; else resident of the process."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    # Not getrusage: its figure survives exec, so a child would start with its parent's.
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 2**10, 1)
    raise RuntimeError("no VmHWM in /proc/self/status")


def run_side(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Run a side in this process, which should be a fresh one."""
    os.dup2(2, 1)  # what the trainers print is progress, not the result
    return {"ours": ours, "trl": trl}[name](args)
