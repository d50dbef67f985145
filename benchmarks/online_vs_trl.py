"""A step of RLOO and of GRPO, ours against TRL's.

    OMP_NUM_THREADS=2 python benchmarks/online_vs_trl.py --model FOLDER --output benchmarks/results/online_vs_trl.json

A step is one rollout, `--samples` completions of exactly `--new-tokens` tokens of each of `--prompts` prompts, and
`--epochs` passes over it, each an optimizer step of `--accumulation` micro-batches, without checkpointing. Everything
is measured for each share of frozen layers. The sides take turns, each time in a fresh process that takes `--steps`
steps, of which the first is left out where there are several; figures are medians over `--repeats` turns. What the
sides are made of and where their phases are cut says `_online_sides.py`; scoring is everything between sampling and
training.

`speedup` is TRL's seconds over ours, `cpu_speedup` the same in seconds of the processor, `memory_ratio` our `peak_mib`
over TRL's. `peak_mib` is the highest resident memory of the whole process, libraries included (on a GPU: the most
memory allocated). With `--dtype bfloat16` the weights stay float32 and both trainers get `bf16=True`.
`load` is the mean number of running processes in the minute before a side began, that of the benchmark among them, and
`cores_busy` what the side had of the cores: where it is well below the number of threads, others were using them, and
only ratios mean anything. OMP_WAIT_POLICY=passive then keeps threads from waiting for each other at full speed.
`limit` holds the least arithmetic of a step, see `least_flops`, and the seconds it takes at the speed that one large
matrix product of that dtype reaches in the same run; `share_of_limit` is the part of that speed that a side reaches,
and `gflop_per_cpu_second` the least arithmetic over a side's seconds of the processor. `--dry-run` runs all of it at
toy size.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from _gpu_models import shape_config
from _online_sides import KL_COEF, run_side
from machine import describe_machine
from ppo_vs_trl import matmul_flops
from transformers import AutoConfig, AutoModelForCausalLM

from genrlhf.models import decoder_layers, freeze_layers

PHASES = ("seconds", "sampling_seconds", "scoring_seconds", "training_seconds")
SETTINGS = ("prompts", "samples", "prompt_tokens", "new_tokens", "epochs", "accumulation", "steps", "repeats", "dtype")
TOY = {
    "shape": "toy",
    "prompts": 2,
    "samples": 4,
    "prompt_tokens": 12,
    "new_tokens": 6,
    "accumulation": 2,
    "repeats": 1,
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder or hub name of a causal language model")
    parser.add_argument("--methods", nargs="+", choices=list(KL_COEF), default=list(KL_COEF))
    parser.add_argument("--sides", nargs="+", choices=["ours", "trl"], default=["ours", "trl"])
    parser.add_argument(
        "--freeze-layers", nargs="+", type=float, default=[0.8, 0.0], help="shares of frozen layers; 0 freezes nothing"
    )
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--samples", type=int, default=8, help="completions of a prompt")
    parser.add_argument("--prompt-tokens", type=int, default=200)
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--accumulation", type=int, default=4, help="micro-batches of an optimizer step")
    parser.add_argument("--steps", type=int, default=1, help="rollouts of a turn; of several, the first is left out")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each side")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--output", type=Path, help="also write the record to this file, after every turn")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--dry-run", action="store_true", help="on a processor, at toy size")
    args = parser.parse_args()
    args.shape = None
    if args.dry_run:
        vars(args).update(TOY)
    elif args.model is None:
        parser.error("--model is missing")
    args.weights = "float32"
    return args


def least_flops(args: argparse.Namespace) -> dict[str, float]:
    """Return the floating-point operations that one step cannot do without, by what they are for.

    With every reuse that keeps the result: prompts run once for all of their completions, forward and backward; the
    frozen layers once a token, for policy and reference, in sampling, scoring and all epochs. The other layers run once
    a token each for sampling and reference, and forward and backward, which is three times as much, in every epoch. Of
    the last layer all tokens need keys and values, while the rest and the LM head run only where something is read: at
    the tokens drawn. Counted are products with weights and those of causal attention, two operations a multiplication.

    Args:
        args: `freeze_layers` of which is one share.
    """
    config = AutoConfig.from_pretrained(args.model) if args.shape is None else shape_config(args.shape)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    frozen = freeze_layers(model, args.freeze_layers)
    layers, text = decoder_layers(model), config.get_text_config()
    heads = text.num_attention_heads
    head_size = getattr(text, "head_dim", None) or text.hidden_size // heads
    kv_heads = getattr(text, "num_key_value_heads", None) or heads
    weights = sum(weight.numel() for weight in layers[0].parameters() if weight.dim() == 2)
    layer, keys_values = 2 * weights, 4 * text.hidden_size * kv_heads * head_size
    head = 2 * args.prompts * args.samples * args.new_tokens * model.get_output_embeddings().weight.numel()
    # What the last token makes predicts nothing.
    length, behind = args.prompt_tokens, args.new_tokens - 1
    trained = len(layers) - frozen

    def attention(before: int, tokens: int) -> float:
        return 2 * heads * head_size * tokens * (2 * before + tokens + 1)

    drawn = args.samples * attention(length, behind)
    tokens, read = length + args.samples * behind, 1 + args.samples * behind
    whole = args.prompts * (tokens * layer + attention(0, length) + drawn)
    last = args.prompts * (tokens * keys_values + read * (layer - keys_values) + attention(length - 1, 1) + drawn)
    forward = (trained - 1) * whole + last
    return {
        "frozen_layers": frozen * whole,
        "sampling": forward + head,
        "reference": forward + head,
        "training": args.epochs * (3 * forward + (2 if frozen else 3) * head),
    }


def turn(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Run a side once, in a process of its own."""
    load = os.getloadavg()[0]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return {**pool.submit(run_side, name, args).result(), "load": round(load, 2)}


def medians(turns: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the medians of a side, and all of its seconds."""
    figures = (*PHASES, "cpu_seconds", "peak_mib", "cores_busy", "load")
    found: dict[str, Any] = {name: round(statistics.median(one[name] for one in turns), 3) for name in figures}
    return {
        **found,
        "seconds_of_every_turn": [one["seconds"] for one in turns],
        "load_of_every_turn": [one["load"] for one in turns],
        "version": turns[0]["version"],
    }


def compare(cell: dict[str, list[dict[str, Any]]], flops: dict[str, float], speed: float) -> dict[str, Any]:
    """Return the record of a method at a share of frozen layers.

    Args:
        cell: the turns of each side.
        flops: see `least_flops`.
        speed: operations a second.
    """
    limit = sum(flops.values()) / speed
    sides = {name: medians(turns) for name, turns in cell.items() if turns}
    for side in sides.values():
        side["share_of_limit"] = round(limit / side["seconds"], 3)
        side["gflop_per_cpu_second"] = round(sum(flops.values()) / 1e9 / side["cpu_seconds"], 1)
    gflop = {name: round(value / 1e9, 1) for name, value in flops.items()}
    record: dict[str, Any] = {**sides, "limit": {"gflop": gflop, "seconds": round(limit, 3)}}
    if len(sides) == 2:
        ours, trl = sides["ours"], sides["trl"]
        record["speedup"] = round(trl["seconds"] / ours["seconds"], 2)
        pairs = zip(ours["seconds_of_every_turn"], trl["seconds_of_every_turn"], strict=False)
        record["speedup_of_every_turn"] = [round(theirs / own, 2) for own, theirs in pairs]
        # Of what is no figure of the machine's other users: the work of both.
        record["cpu_speedup"] = round(trl["cpu_seconds"] / ours["cpu_seconds"], 2)
        record["memory_ratio"] = round(ours["peak_mib"] / trl["peak_mib"], 3)
    return record


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run the sides in turns and return the record, which is written after each."""
    turns: dict[str, dict[str, list[dict[str, Any]]]] = {}
    cells = {
        f"{method} {share}": argparse.Namespace(**{**vars(args), "method": method, "freeze_layers": share})
        for share in args.freeze_layers
        for method in args.methods
    }
    speed, record = matmul_flops(args.dtype), {}
    for repeat in range(args.repeats):
        for name, cell in cells.items():
            # Who begins changes, as what runs beside them may.
            for side in args.sides if repeat % 2 == 0 else reversed(args.sides):
                print(f"turn {repeat + 1}: {name} {side}", file=sys.stderr, flush=True)
                turns.setdefault(name, {each: [] for each in args.sides})[side].append(turn(side, cell))
                speed = max(speed, matmul_flops(args.dtype))
                record = {
                    "command": " ".join(["python", "benchmarks/online_vs_trl.py", *sys.argv[1:]]),
                    "machine": describe_machine(),
                    "settings": {name: getattr(args, name) for name in SETTINGS},
                    "matmul_gflop_per_second": round(speed / 1e9, 1),
                    **{each: compare(turns[each], least_flops(cells[each]), speed) for each in turns},
                }
                if args.output is not None:
                    args.output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return record


def main() -> int:
    args = parse_args()
    record = measure(args)
    if args.json:
        print(json.dumps(record))
        return 0
    for name, cell in record.items():
        if not isinstance(cell, dict) or "limit" not in cell:
            continue
        for side in args.sides:
            found = cell[side]
            seconds = ", ".join(f"{phase.removesuffix('_seconds')} {found[phase]:.2f}" for phase in PHASES)
            print(f"{name} {side}: {seconds}; {found['peak_mib']:.0f} MiB, {found['share_of_limit']:.2f} of the limit")
        if "speedup" in cell:
            print(f"{name}: speedup {cell['speedup']}, memory_ratio {cell['memory_ratio']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
