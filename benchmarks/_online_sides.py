"""The two sides of `online_vs_trl.py`: RLOO and GRPO, ours and TRL's, one step after another.

Both sides get the same prompts, the same policy, the same coefficient of the KL to it as it starts, the same reward, a
function of the texts that costs nothing, and completions of exactly `args.new_tokens` tokens. Embeddings, LM head,
final norm and the first layers are frozen by `genrlhf.models.freeze_layers` on both. What differs in the methods
themselves is left as each has it, but for what makes the losses of GRPO the same (`loss_type="grpo"`, no correction of
the KL); see docs/ppo.md for RLOO.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import torch
from _ppo_sides import Clock, language_model, prompts
from datasets import Dataset

from genrlhf.models import ensure_pad_token, freeze_layers

KL_COEF = {"rloo": 0.05, "grpo": 0.04}


def variety(prompts: Sequence[Any], completions: Sequence[str], **columns: Any) -> list[float]:
    """Return the share of different characters, which differs among the completions of any model."""
    return [len(set(text)) / max(1, len(text)) for text in completions]


def shared_settings(args: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Return the settings that have the same name on both sides."""
    return {
        "output_dir": folder,
        "per_device_train_batch_size": args.prompts * args.samples // args.accumulation,
        "gradient_accumulation_steps": args.accumulation,
        "temperature": 1.0,
        "learning_rate": 1e-6,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 1.0,
        "gradient_checkpointing": False,
        "bf16": args.dtype == "bfloat16",
        "use_cpu": not torch.cuda.is_available(),
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def trainer_of(args: argparse.Namespace, folder: str, **options: Any) -> Any:
    """Return our trainer; `options` are further arguments of it."""
    from genrlhf.methods import get_method
    from genrlhf.trainers import PPOConfig, PPOTrainer

    policy, tokenizer = language_model(args)
    ensure_pad_token(tokenizer, policy)
    recipe = {**get_method(args.method).recipe, "kl_coef": KL_COEF[args.method], "samples_per_prompt": args.samples}
    return PPOTrainer(
        model=policy,
        reward=variety,
        args=PPOConfig(
            **shared_settings(args, folder),
            **recipe,
            num_rollouts=args.steps,
            num_ppo_epochs=args.epochs,
            freeze_layers=args.freeze_layers,
            max_new_tokens=args.new_tokens,
            min_new_tokens=args.new_tokens,
            missing_eos_score=None,
            sampling_batch_size=args.prompts * args.samples,
        ),
        train_dataset=Dataset.from_dict({"prompt": prompts(args, tokenizer)}),
        processing_class=tokenizer,
        **options,
    )


def ours(args: argparse.Namespace) -> dict[str, Any]:
    """Sampling begins with the rollout and ends with the sampler; scoring ends with the rollout; the rest trains."""
    import genrlhf

    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(args, folder, callbacks=[clock])
        collector, sampler = type(trainer.collector), type(trainer.collector.sampler)
        with (
            patch.object(collector, "collect", clock.between(collector.collect, "sampling", "training")),
            patch.object(sampler, "generate", clock.between(sampler.generate, None, "scoring")),
        ):
            trainer.train()
    rollout = trainer.buffer.rollout
    drawn = 0 if rollout is None else int(rollout.completion_mask.sum())
    if drawn != args.prompts * args.samples * args.new_tokens:
        raise RuntimeError(f"Our side drew {drawn} tokens.")
    return {**clock.seconds(), "version": genrlhf.__version__}


def trl(args: argparse.Namespace) -> dict[str, Any]:
    """Sampling ends where a batch is drawn; scoring ends with what TRL does before it goes through its batches."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    import trl as package

    config, trainer_class, settings = {
        "rloo": (package.RLOOConfig, package.RLOOTrainer, {}),
        "grpo": (package.GRPOConfig, package.GRPOTrainer, {"loss_type": "grpo", "use_bias_correction_kl": False}),
    }[args.method]
    policy, tokenizer = language_model(args)
    tokenizer.padding_side = "left"
    ensure_pad_token(tokenizer, policy)
    freeze_layers(policy, args.freeze_layers)
    texts, clock = prompts(args, tokenizer), Clock()
    lengths: list[int] = []
    draw = trainer_class._generate_single_turn

    def drawing(*given: Any, **options: Any) -> Any:
        found = draw(*given, **options)
        clock.mark("scoring")
        # RLOO returns ids, GRPO ids and more.
        lengths.extend(map(len, found[0] if isinstance(found, tuple) else found))
        return found

    with tempfile.TemporaryDirectory() as folder:
        if args.shape is not None:
            # It reads its reference from where the policy came from.
            policy.save_pretrained(folder)
            policy.config._name_or_path = folder
        trainer = trainer_class(
            model=policy,
            reward_funcs=variety,
            args=config(
                **shared_settings(args, folder),
                **settings,
                beta=KL_COEF[args.method],
                max_steps=args.steps * args.epochs,
                num_iterations=args.epochs,
                num_generations=args.samples,
                max_completion_length=args.new_tokens,
                generation_kwargs={"min_new_tokens": args.new_tokens},
            ),
            train_dataset=Dataset.from_dict({"prompt": texts}),
            processing_class=tokenizer,
            callbacks=[clock],
        )
        rollout = clock.between(trainer_class._generate_and_score_completions, "sampling", "training")
        with (
            patch.object(trainer_class, "_generate_and_score_completions", rollout),
            patch.object(trainer_class, "_generate_single_turn", drawing),
        ):
            trainer.train()
    if lengths != [args.new_tokens] * (args.prompts * args.samples * args.steps):
        raise RuntimeError(f"TRL's side drew completions of {sorted(set(lengths))} tokens, {len(lengths)} in all.")
    return {**clock.seconds(), "version": package.__version__}


def run_side(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Run a side in this process, which should be a fresh one."""
    os.dup2(2, 1)  # what the trainers print is progress, not the result
    torch.manual_seed(0)
    return {"ours": ours, "trl": trl}[name](args)


if __name__ == "__main__":
    sys.exit("see online_vs_trl.py")
