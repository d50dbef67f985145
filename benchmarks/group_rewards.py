"""What rewards of groups cost, as a share of the step that they are part of.

    OMP_NUM_THREADS=2 python benchmarks/group_rewards.py --model FOLDER --encoder FOLDER --output FILE

A step is one of RLOO's as `online_vs_trl.py` takes it, without a second model: `--samples` completions of exactly
`--new-tokens` tokens of each of `--prompts` prompts, and one optimizer step. Each reward gets the completions that it
drew, once to warm up and then `--repeats` times, behind a step each; the figures are medians. `share` is the seconds of
a reward over those of a step with the reward in it, `cpu_share` the same in seconds of the processor, which other
programs on the machine change less. DQO and classes by embedding embed every completion with a sentence encoder.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from _online_sides import trainer_of
from machine import describe_machine
from online_vs_trl import TOY

from genrlhf.methods.darling import Darling
from genrlhf.methods.dqo import DQO
from genrlhf.methods.frequency import Frequency
from genrlhf.methods.uniqueness import Uniqueness

LIMIT = 0.05
SETTINGS = ("freeze_layers", "prompts", "samples", "prompt_tokens", "new_tokens", "accumulation", "repeats")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder or hub name of a causal language model")
    parser.add_argument("--encoder", help="folder or hub name of a sentence encoder; left out, nothing is embedded")
    parser.add_argument("--freeze-layers", type=float, default=0.8, help="share of frozen layers")
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--samples", type=int, default=8, help="completions of a prompt")
    parser.add_argument("--prompt-tokens", type=int, default=200)
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--accumulation", type=int, default=4, help="micro-batches of an optimizer step")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, help="also write the record to this file")
    parser.add_argument("--dry-run", action="store_true", help="at toy size")
    args = parser.parse_args()
    vars(args).update({"shape": None, "weights": "float32", "dtype": "float32", "epochs": 1, "method": "rloo"})
    if args.dry_run:
        vars(args).update(TOY)
    elif args.model is None:
        parser.error("--model is missing")
    args.steps = args.repeats + 1
    return args


def group_rewards(encoder: str | None) -> dict[str, Callable[..., torch.Tensor]]:
    """Return what is measured, by name."""
    found = {"darling": Darling(), "frequency": Frequency(), "uniqueness": Uniqueness()}
    if encoder is None:
        return found
    return {**found, "dqo": DQO(encoder=encoder), "darling, embedding": Darling(classes=f"embedding:{encoder}")}


Times = list[tuple[float, float]]
"""Seconds by the clock, and of the processor."""


def timed(function: Callable[[], Any]) -> tuple[Any, tuple[float, float]]:
    """Return what a call returns, and its times."""
    start, cpu = time.perf_counter(), time.process_time()
    found = function()
    return found, (time.perf_counter() - start, time.process_time() - cpu)


def run(args: argparse.Namespace) -> tuple[Times, dict[str, Times]]:
    """Return the times of steps, and of each reward on what was drawn in them."""
    rewards = group_rewards(args.encoder)
    steps: Times = []
    found: dict[str, Times] = {name: [] for name in rewards}
    begun: list[tuple[float, float]] = []

    def measure(prompts: Sequence[Any], completions: Sequence[Sequence[str]], rewards_: torch.Tensor) -> None:
        for name, reward in rewards.items():
            found[name].append(timed(lambda reward=reward: reward(completions=completions, rewards=rewards_))[1])

    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(args, folder)
        collect, sampled = trainer.collector.collect, type(trainer.collector)

        def collected(self: Any, *given: Any, **options: Any) -> Any:
            if begun:
                steps.append((time.perf_counter() - begun[-1][0], time.process_time() - begun[-1][1]))
            # Between two steps: what is measured is no part of them.
            if drawn:
                measure(*drawn.pop())
            begun.append((time.perf_counter(), time.process_time()))
            rollout, scored = collect(*given, **options)
            n = args.samples
            groups = [scored.texts[start : start + n] for start in range(0, len(scored.texts), n)]
            drawn.append((scored.prompts[::n], groups, scored.scores.view(-1, n).cpu()))
            return rollout, scored

        drawn: list[tuple[Any, Any, torch.Tensor]] = []
        with patch.object(sampled, "collect", collected):
            trainer.train()
        steps.append((time.perf_counter() - begun[-1][0], time.process_time() - begun[-1][1]))
        measure(*drawn.pop())
    return steps, found


def main() -> int:
    args = parse_args()
    load = os.getloadavg()[0]
    steps, found = run(args)
    record: dict[str, Any] = {
        "command": " ".join(["python", "benchmarks/group_rewards.py", *sys.argv[1:]]),
        "machine": describe_machine(),
        "load": [round(load, 2), round(os.getloadavg()[0], 2)],
        "settings": {name: getattr(args, name) for name in SETTINGS},
        "step": summary(steps),
        "limit": LIMIT,
    }
    for name, times in found.items():
        own = summary(times)
        shares = {
            share: round(own[seconds] / (own[seconds] + record["step"][seconds]), 4)
            for share, seconds in (("share", "seconds"), ("cpu_share", "cpu_seconds"))
        }
        record[name] = {**own, **shares}
        print(
            f"{name}: {own['seconds']:.4f} s, {shares['share']:.2%} of a step ({shares['cpu_share']:.2%} of its work)"
        )
    if args.output is not None:
        args.output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0


def summary(times: Times) -> dict[str, Any]:
    """Return the medians of all times but the first."""
    seconds, cpu = zip(*times[1:], strict=True)
    return {
        "seconds": round(statistics.median(seconds), 4),
        "cpu_seconds": round(statistics.median(cpu), 4),
        "seconds_of_every_one": [round(value, 4) for value in seconds],
    }


if __name__ == "__main__":
    sys.exit(main())
