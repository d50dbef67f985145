"""A step of our PPO against one of TRL 1.10, the last line that had a PPO trainer.

    pip install --no-deps --target trl-1.10 trl==1.10.0
    python benchmarks/ppo_vs_trl.py --model FOLDER --trl-path trl-1.10 --freeze-layers 0.8 --json

A step is one rollout, `--prompts` prompts with exactly `--new-tokens` tokens each, and `--epochs` passes over it, each
one minibatch of all sequences, without gradient accumulation or checkpointing. Each side runs in a fresh process, one
after the other; the first step warms up and is left out where there are several. What the sides are made of and where
their phases are cut says `_ppo_sides.py`; scoring is everything between sampling and training.

`speedup` is TRL's seconds over ours, `memory_ratio` our `peak_mib` over TRL's. `peak_mib` is the highest resident
memory of the whole process, libraries included (on a GPU: the most memory allocated). With `--dtype bfloat16` the
weights stay float32 and the trainers get `bf16=True`, which in TRL covers the training passes only. `limit` holds the
least arithmetic of a step, see `least_flops`, and the seconds it takes at the speed that one large matrix product of
that dtype reaches here in the same run; `share_of_limit` is the part of that speed that a side reaches.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from _gpu_models import shape_config
from _ppo_sides import run_side
from machine import describe_machine
from transformers import AutoConfig, AutoModelForCausalLM

from genrlhf.models import decoder_layers, freeze_layers

FIGURES = (
    *("seconds", "sampling_seconds", "scoring_seconds", "training_seconds"),
    *("peak_mib", "cores_busy", "share_of_limit"),
)
SETTINGS = ("freeze_layers", "prompts", "prompt_tokens", "new_tokens", "epochs", "steps", "dtype")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder or hub name of a causal language model")
    parser.add_argument("--trl-path", type=Path, help="folder that TRL 1.10 was installed to, for the side trl")
    parser.add_argument("--sides", nargs="+", choices=["ours", "trl"], default=["ours", "trl"])
    parser.add_argument("--freeze-layers", type=float, default=0.8, help="share of frozen layers; 0 freezes nothing")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--prompt-tokens", type=int, default=200)
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=2, help="rollouts; of several, the first is left out")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--output", type=Path, help="also write the record to this file")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.shape, args.accumulation, args.scoring_batch = None, 1, None
    if "trl" in args.sides and args.trl_path is None:
        parser.error("the side trl needs --trl-path")
    return args


def least_flops(args: argparse.Namespace) -> dict[str, float]:
    """Return the floating-point operations that one step cannot do without, by what they are for.

    With every reuse that keeps the result: the frozen layers run once a token, for policy, reference and reward model,
    in sampling, scoring and all epochs. The other layers run once a token each for sampling, reference and reward, and
    forward and backward, which is three times as much, in every epoch. Of the last layer all tokens need keys and
    values, while the rest and the LM head run only where something is read: at the tokens drawn, for the reward model
    at one. Counted are products with weights and those of causal attention, two operations a multiplication.
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
    head = 2 * args.prompts * args.new_tokens * model.get_output_embeddings().weight.numel()
    length = args.prompt_tokens + args.new_tokens
    trained = len(layers) - frozen

    def attention(tokens: int) -> float:
        return 2 * heads * head_size * tokens * (tokens + 1)

    def whole(count: int, tokens: int) -> float:
        return args.prompts * count * (tokens * layer + attention(tokens))

    def top(tokens: int, read: int) -> float:
        last = tokens * keys_values + read * (layer - keys_values) + attention(tokens) - attention(tokens - read)
        return whole(trained - 1, tokens) + args.prompts * last

    forward = top(length - 1, args.new_tokens)
    return {
        "frozen_layers": whole(frozen, length),
        "sampling": forward + head,
        "reference": forward + head,
        "reward": top(length, 1),
        "training": args.epochs * (3 * forward + (2 if frozen else 3) * head),
    }


def matmul_flops(dtype: str) -> float:
    """Return floating-point operations a second of a large product, the best of several."""
    device, size = ("cuda", 8192) if torch.cuda.is_available() else ("cpu", 1024)
    x = torch.randn(size, size, device=device, dtype=getattr(torch, dtype))
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        x @ x
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run the sides and return the record."""
    speeds, sides = [matmul_flops(args.dtype)], {}
    for name in args.sides:
        print(f"running {name}", file=sys.stderr, flush=True)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            sides[name] = pool.submit(run_side, name, args).result()
        speeds.append(matmul_flops(args.dtype))
    flops, speed = least_flops(args), max(speeds)
    limit = sum(flops.values()) / speed
    for side in sides.values():
        side["share_of_limit"] = round(limit / side["seconds"], 3)
    record: dict[str, Any] = {
        "command": " ".join(["python", "benchmarks/ppo_vs_trl.py", *sys.argv[1:]]),
        "machine": describe_machine(),
        "settings": {name: getattr(args, name) for name in SETTINGS},
        **sides,
        "limit": {
            "gflop": {name: round(value / 1e9, 1) for name, value in flops.items()},
            "matmul_gflop_per_second": round(speed / 1e9, 1),
            "seconds": round(limit, 3),
        },
    }
    if len(sides) == 2:
        record["speedup"] = round(sides["trl"]["seconds"] / sides["ours"]["seconds"], 2)
        record["memory_ratio"] = round(sides["ours"]["peak_mib"] / sides["trl"]["peak_mib"], 3)
    return record


def main() -> int:
    args = parse_args()
    record = measure(args)
    if args.output is not None:
        args.output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if args.json:
        print(json.dumps(record))
        return 0
    print(f"{'':18}" + "".join(f"{name:>10}" for name in args.sides))
    for figure in FIGURES:
        print(f"{figure:18}" + "".join(f"{record[name][figure]:10.2f}" for name in args.sides))
    if "speedup" in record:
        print(f"speedup {record['speedup']}, memory_ratio {record['memory_ratio']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
