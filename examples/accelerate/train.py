"""PPO, or SFT, on the embedded task, to try a configuration of Accelerate out.

    accelerate launch --config_file examples/accelerate/ddp.yaml examples/accelerate/train.py --bf16

Without `--model` it trains the built-in model of 0.7 million parameters.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from accelerate import PartialState

from genrlhf import PPOConfig, PPOTrainer, SFTConfig, SFTTrainer, load_task


def coverage(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    """Return the share of the prompt's words that a completion has, and less for long ones."""
    pairs = [(set(prompt.split()), completion.split()) for prompt, completion in zip(prompts, completions, strict=True)]
    return [len(words & set(found)) / len(words) - 0.02 * len(found) for words, found in pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=["ppo", "sft"], default="ppo")
    parser.add_argument("--model", help="hub name or folder of a causal language model")
    parser.add_argument("--output-dir", default="accelerate_example")
    parser.add_argument("--freeze-layers", type=float, default=0.5)
    parser.add_argument("--batch-size", type=int, default=16, help="sequences a forward pass on each process")
    parser.add_argument("--rollouts", type=int, default=3, help="of PPO; SFT takes four steps for each")
    parser.add_argument("--bf16", action="store_true")
    args = parser.parse_args()
    task = load_task("embedded", n_demonstrations=256, n_preferences=8, n_prompts=512)
    shared: dict[str, Any] = {
        "output_dir": args.output_dir,
        "overwrite_output_dir": True,
        "freeze_layers": args.freeze_layers,
        "per_device_train_batch_size": args.batch_size,
        "logging_steps": 4,
        "report_to": "none",
        "bf16": args.bf16,
        "use_cpu": not torch.cuda.is_available(),
    }
    if args.method == "ppo":
        config = PPOConfig(**shared, num_rollouts=args.rollouts, max_new_tokens=24)
        trainer: Any = PPOTrainer(args.model or task.model, coverage, config, train_dataset=task.prompts)
    else:
        settings = SFTConfig(**shared, max_steps=4 * args.rollouts)
        trainer = SFTTrainer(args.model or task.model, settings, train_dataset=task.demonstrations)
    trainer.train()
    trainer.save_model(args.output_dir)
    state = PartialState()
    state.print(f"{trainer.state.global_step} steps on {state.num_processes} processes: {args.output_dir}")
    state.wait_for_everyone()
    state.destroy_process_group()


if __name__ == "__main__":
    main()
