"""n samples of one prompt: ours against transformers' `generate` and `generate_batch`, and vLLM where it is installed.

    python benchmarks/sampling.py --model FOLDER --n 1 4 16 64 --prompt-tokens 50 400 1600 --new-tokens 48 --json

All draw exactly `--new-tokens` tokens at temperature 1 from the same model in one process, one after the other, after
a short warm-up. `peak_mib` is the highest resident memory of the process (on a GPU: allocated memory) while it draws,
less what was resident before. `limit_seconds` is what the products with the weights alone would take at the speed that
they reach here, see `Limit`; `narrow_linear_ratio` is the time of W xᵀ over that of x Wᵀ for them. A method is skipped
where its last cell says that it would take too long.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import describe_machine
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from genrlhf.models import ensure_pad_token
from genrlhf.sampling import TransformersSampler, sample_seeds
from genrlhf.sampling.narrow_linear import narrow_linear_layers
from genrlhf.types import SamplingParams

Draw = Callable[[list[int], int, int], int]
"""`(prompt ids, n, new tokens) -> tokens drawn`."""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder or hub name of a causal language model")
    parser.add_argument("--n", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--prompt-tokens", type=int, nargs="+", default=[50, 400, 1600])
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--methods", nargs="+", default=["ours", "generate", "generate_batch", "vllm"])
    parser.add_argument("--repeats", type=int, default=1, help="runs of each cell, of which the fastest counts")
    parser.add_argument("--cell-limit", type=float, default=600, help="seconds that a cell may be expected to take")
    parser.add_argument("--output", type=Path, help="also write the record to this file")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def draws(args: argparse.Namespace) -> dict[str, Draw]:
    """Return the methods that can run here."""
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=getattr(torch, args.dtype)).eval()
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    ensure_pad_token(tokenizer, model)
    sampler = TransformersSampler(model, tokenizer, batch_size=max(args.n), max_batch_tokens=2**20)

    def ours(ids: list[int], n: int, new: int) -> int:
        params = SamplingParams(max_new_tokens=new, min_new_tokens=new)
        prompt = tokenizer.decode(ids)
        return int(sampler.generate([prompt], n, params, sample_seeds(0, [0], n)).completion_mask.sum())

    def generate(ids: list[int], n: int, new: int) -> int:
        inputs = torch.tensor([ids], device=model.device)
        config = GenerationConfig(
            max_new_tokens=new, min_new_tokens=new, do_sample=True, top_k=0, num_return_sequences=n, pad_token_id=0
        )
        with torch.no_grad():
            found = model.generate(inputs, attention_mask=torch.ones_like(inputs), generation_config=config)
        return (found.shape[1] - len(ids)) * len(found)

    def generate_batch(ids: list[int], n: int, new: int) -> int:
        config = GenerationConfig(
            max_new_tokens=new, do_sample=True, top_k=0, num_return_sequences=n, eos_token_id=-1, pad_token_id=0
        )
        found = model.generate_batch([ids], generation_config=config, progress_bar=False)
        return sum(len(output.generated_tokens) for output in found.values())

    found: dict[str, Draw] = {"ours": ours, "generate": generate, "generate_batch": generate_batch}
    if importlib.util.find_spec("vllm") is not None and "vllm" in args.methods:
        from genrlhf.sampling import VLLMSampler

        engine = VLLMSampler(args.model, tokenizer=tokenizer, dtype=args.dtype, gpu_memory_utilization=0.5)

        def vllm(ids: list[int], n: int, new: int) -> int:
            params = SamplingParams(max_new_tokens=new, min_new_tokens=new)
            prompt = tokenizer.decode(ids)
            return int(engine.generate([prompt], n, params, sample_seeds(0, [0], n)).completion_mask.sum())

        found["vllm"] = vllm
    return {name: found[name] for name in args.methods if name in found}


def prompt_of(tokenizer: Any, length: int) -> list[int]:
    """Return ids that decode to a text that encodes to the same ids."""
    ids: list[int] = tokenizer(" the sea" * length)["input_ids"]
    return ids[:length]


def measure(draw: Callable[[], int]) -> tuple[float, float, int]:
    """Return seconds, peak memory in MiB, and tokens drawn."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        # Hand freed memory back, and start the high-water mark of resident memory afresh.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmRSS")
    start = time.perf_counter()
    tokens = draw()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else resident("VmHWM")
    return seconds, (peak - before) / 2**20, tokens


def resident(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {field} in /proc/self/status")


class Limit:
    """Seconds that the products with the weights alone take, at the speed of the model's own largest layer here."""

    def __init__(self, model_name: str, dtype: str) -> None:
        model = AutoModelForCausalLM.from_pretrained(model_name, dtype=getattr(torch, dtype))
        self.model = model.to("cuda" if torch.cuda.is_available() else "cpu")
        self.head = model.get_output_embeddings()
        self.layers = [module for module in model.model.layers.modules() if isinstance(module, torch.nn.Linear)]

    @torch.no_grad()
    def seconds(self, n: int, prompt: int, new: int) -> float:
        """Prompt once through the layers, then `new − 1` tokens of n rows, and `new` times the head."""
        first = self._pass(self.layers, prompt) + self._pass([self.head], 1)
        plain = self._pass([*self.layers, self.head], n)
        with narrow_linear_layers(self.model):
            narrow = self._pass([*self.layers, self.head], n)
        self.narrow_ratio = narrow / plain
        return first + (new - 1) * min(plain, narrow)

    def _pass(self, modules: list[torch.nn.Linear], rows: int) -> float:
        inputs = [torch.randn(rows, m.in_features, device=m.weight.device, dtype=m.weight.dtype) for m in modules]
        best = float("inf")
        for _ in range(3):
            start = time.perf_counter()
            for module, x in zip(modules, inputs, strict=True):
                module(x)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - start)
        return best


def cell(
    name: str, draw: Draw, ids: list[int], n: int, args: argparse.Namespace, last: dict[str, Any]
) -> dict[str, Any]:
    """Return the figures of one method in one cell, or why there are none."""
    work = n * (len(ids) + args.new_tokens)
    if name in last:
        seconds, before = last[name]
        expected = seconds * work / before
        if expected > args.cell_limit:
            return {"skipped": f"expected to take {expected:.0f} s"}
    try:
        runs = [measure(lambda: draw(ids, n, args.new_tokens)) for _ in range(args.repeats)]
    except Exception as error:  # another library's method that does not run here is part of the result
        if name == "ours":
            raise
        return {"failed": f"{type(error).__name__}: {error}"[:300]}
    seconds, peak, tokens = min(runs)
    last[name] = (seconds, work)
    if tokens != n * args.new_tokens:
        raise RuntimeError(f"{name} drew {tokens} tokens instead of {n * args.new_tokens}")
    return {"seconds": round(seconds, 3), "tokens_per_second": round(tokens / seconds, 1), "peak_mib": round(peak, 1)}


def main() -> int:
    args = parse_args()
    methods, limit = draws(args), Limit(args.model, args.dtype)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    last: dict[str, Any] = {}
    results = []
    for name in ("ours", "generate"):
        if name in methods:
            methods[name](prompt_of(tokenizer, 16), 2, 2)
    for prompt in args.prompt_tokens:
        for n in args.n:
            ids = prompt_of(tokenizer, prompt)
            row: dict[str, Any] = {"n": n, "prompt_tokens": prompt, "new_tokens": args.new_tokens}
            for name, draw in methods.items():
                row[name] = cell(name, draw, ids, n, args, last)
                print(f"n={n} prompt={prompt} {name}: {row[name]}", file=sys.stderr, flush=True)
            ours = row["ours"]["seconds"]
            for name in methods:
                if name != "ours" and "seconds" in row[name]:
                    row[f"speedup_vs_{name}"] = round(row[name]["seconds"] / ours, 2)
            row["limit_seconds"] = round(limit.seconds(n, prompt, args.new_tokens), 3)
            row["narrow_linear_ratio"] = round(limit.narrow_ratio, 2)
            row["share_of_limit"] = round(row["limit_seconds"] / ours, 2)
            results.append(row)
    command = " ".join(["python", "benchmarks/sampling.py", *sys.argv[1:]])
    record = {"command": command, "dtype": args.dtype, "machine": describe_machine(), "results": results}
    if args.output is not None:
        args.output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if args.json:
        print(json.dumps(record))
    else:
        for row in results:
            ratios = ", ".join(f"{key} {value}" for key, value in row.items() if key.startswith("speedup"))
            print(f"n={row['n']:3d} prompt={row['prompt_tokens']:5d}: {row['ours']['seconds']:7.2f} s, {ratios}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
