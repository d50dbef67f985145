"""What `gpu.py` runs in processes of their own: PPO, sampling, where the host waits, and RLOO and GRPO.

    python benchmarks/_gpu_jobs.py FILE '{"job": "sampling", …}'

with the checkout on PYTHONPATH, writes what it has measured to FILE after every measurement, so that a process that is
killed leaves all but the last.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _gpu_models import causal_lm, device, prompt_ids, sequence_classifier, shape_config, tokenizer
from datasets import Dataset
from machine import describe_machine
from tests.host_waits import busy_share, count_waits
from transformers import ContinuousBatchingConfig, GenerationConfig

from genrlhf.sampling import TransformersSampler, sample_seeds
from genrlhf.types import SamplingParams

ON_GPU = torch.cuda.is_available()


class Record:
    """A JSON file that is whole at any time.

    Args:
        path: of the file.
        spec: what is measured.
    """

    def __init__(self, path: Path, spec: dict[str, Any]) -> None:
        self.path = path
        self.found: dict[str, Any] = {"spec": spec, "machine": describe_machine()}
        self.write()

    def __setitem__(self, name: str, value: Any) -> None:
        self.found[name] = value
        self.write()

    def write(self) -> None:
        """Replace the file."""
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.found, indent=1) + "\n", encoding="utf-8")
        os.replace(part, self.path)


def synchronise() -> None:
    """Wait for the GPU."""
    if ON_GPU:
        torch.cuda.synchronize()


def allocated() -> float:
    """Return the memory that is allocated on the GPU, in MiB."""
    return torch.cuda.memory_allocated() / 2**20 if ON_GPU else 0.0


def ceilings(dtype: torch.dtype) -> dict[str, float]:
    """Return bytes a second of a large copy, read and written, and operations a second of a large product, medians."""
    size, square = (2**31, 8192) if ON_GPU else (2**22, 256)
    source = torch.empty(size, dtype=torch.uint8, device=device()).random_()
    target = torch.empty_like(source)
    x, y = (torch.randn(square, square, device=device(), dtype=dtype) for _ in range(2))
    copy = statistics.median(seconds(lambda: target.copy_(source)) for _ in range(12))
    product = statistics.median(seconds(lambda: x @ y) for _ in range(12))
    return {"bytes_per_second": 2 * size / copy, "flops_per_second": 2 * square**3 / product}


def seconds(function: Callable[[], Any]) -> float:
    """Return how long a call takes, to the end of what it starts on the GPU."""
    synchronise()
    start = time.perf_counter()
    function()
    synchronise()
    return time.perf_counter() - start


def ppo(spec: dict[str, Any], record: Record) -> None:
    """Run one side of PPO, see `_ppo_sides`, and work out its limit."""
    from _ppo_sides import run_side
    from ppo_vs_trl import least_flops

    args = argparse.Namespace(**spec)
    record["ceilings"] = speeds = ceilings(torch.bfloat16)
    if ON_GPU:
        torch.cuda.empty_cache()
    side = run_side(spec["side"], args)
    flops = least_flops(args)
    weights = sum(p.numel() for p in _on_meta(args.shape).parameters()) * 2
    limit = {name: value / speeds["flops_per_second"] for name, value in flops.items()}
    # In decoding all weights are read for every token of a batch, whatever its size.
    limit["decoding_bytes"] = (args.new_tokens - 1) * weights / speeds["bytes_per_second"]
    total = sum(limit.values())
    record["side"] = {**side, "share_of_limit": round(total / side["seconds"], 3)}
    record["limit_seconds"] = {**{name: round(value, 4) for name, value in limit.items()}, "total": round(total, 3)}


def _on_meta(shape: str) -> torch.nn.Module:
    from transformers import LlamaForCausalLM

    with torch.device("meta"):
        return LlamaForCausalLM(shape_config(shape))


Draw = Callable[[int], int]
"""`new tokens -> tokens drawn`."""


class Sampling:
    """One model, and three ways to draw n completions of some prompts from it."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.n: int = spec["n"]
        self.dtype = getattr(torch, spec["dtype"])
        self.model = causal_lm(spec["shape"], self.dtype)
        self.tokenizer = tokenizer(spec["shape"])

    def ours_without_graphs(self, ids: list[list[int]]) -> Draw:
        """Return ours, every step of which is sent anew."""
        return self.ours(ids, cuda_graphs=False)

    def ours(self, ids: list[list[int]], *, cuda_graphs: bool = True) -> Draw:
        """Return ours."""
        options: dict[str, Any] = {"batch_size": 4096, "max_batch_tokens": 2**20, "cuda_graphs": cuda_graphs}
        sampler = TransformersSampler(self.model, self.tokenizer, **options)
        texts = [self.tokenizer.decode(row) for row in ids]
        seeds = sample_seeds(0, range(len(ids)), self.n)

        def draw(new: int) -> int:
            params = SamplingParams(max_new_tokens=new, min_new_tokens=new)
            return int(sampler.generate(texts, self.n, params, seeds).completion_mask.sum())

        return draw

    def generate(self, ids: list[list[int]]) -> Draw:
        """Return that of transformers."""
        inputs = torch.tensor(ids, device=self.model.device)

        def draw(new: int) -> int:
            config = GenerationConfig(
                **{"max_new_tokens": new, "min_new_tokens": new, "do_sample": True, "top_k": 0},
                **{"num_return_sequences": self.n, "pad_token_id": 0},
            )
            with torch.no_grad():
                found = self.model.generate(inputs, attention_mask=torch.ones_like(inputs), generation_config=config)
            return (found.shape[1] - inputs.shape[1]) * len(found)

        return draw

    def generate_batch(self, ids: list[list[int]]) -> Draw:
        """Return the continuous batching of transformers, with a manager that is kept from one call to the next."""
        # On a processor the cache would otherwise take all memory.
        batching = None if ON_GPU else ContinuousBatchingConfig(num_blocks=64, page_size=16, max_batch_tokens=64)

        def draw(new: int) -> int:
            config = GenerationConfig(
                **{"max_new_tokens": new, "do_sample": True, "top_k": 0, "num_return_sequences": self.n},
                **{"eos_token_id": -1, "pad_token_id": 0},
            )
            found = self.model.generate_batch(
                ids,
                generation_config=config,
                continuous_batching_config=batching,
                progress_bar=False,
                persistent_manager=ON_GPU,
            )
            return sum(len(output.generated_tokens) for output in found.values())

        return draw

    def forget(self) -> None:
        """Hand back what a method has kept."""
        destroy = getattr(self.model, "destroy_cached_continuous_batching_manager", None)
        if destroy is not None:
            destroy()
        gc.collect()
        if ON_GPU:
            torch.cuda.empty_cache()

    def limit(self, prompts: int, length: int, new: int, speeds: dict[str, float]) -> dict[str, float]:
        """Return the least seconds: the prompts' arithmetic, once a prompt, and for every token drawn the bytes.

        Those are all weights, the prompts' keys and values, once a prompt, and the completions'.
        """
        config, size = self.model.config, torch.finfo(self.dtype).bits // 8
        layers = sum(p.numel() for p in self.model.model.layers.parameters())
        head = self.model.get_output_embeddings().weight.numel()
        head_dim = config.hidden_size // config.num_attention_heads
        attention = 2 * config.num_hidden_layers * config.hidden_size * length * (length + 1)
        entry = 2 * config.num_hidden_layers * config.num_key_value_heads * head_dim * size
        prefill = prompts * (2 * layers * length + attention + 2 * head) / speeds["flops_per_second"]
        kept = prompts * length * entry * (new - 1) + prompts * self.n * entry * new * (new - 1) // 2
        bytes_read = (new - 1) * (layers + head) * size + kept
        flops = 2 * (layers + head) * prompts * self.n * (new - 1)
        decode = max(bytes_read / speeds["bytes_per_second"], flops / speeds["flops_per_second"])
        return {"prefill": prefill, "decode": decode, "total": prefill + decode}


def sampling(spec: dict[str, Any], record: Record) -> None:
    """Time N samples of some prompts, method by method, and profile one run of ours and of `generate`."""
    subject, new, results = Sampling(spec), spec["new_tokens"], []
    record["ceilings"] = speeds = ceilings(subject.dtype)
    subject.forget()
    # The one that takes all memory for its cache comes last.
    cells = [
        (method, prompts, length)
        for methods in (("ours", "ours_without_graphs", "generate"), ("generate_batch",))
        for length in spec["prompt_tokens"]
        for prompts in spec["prompts"]
        for method in methods
    ]
    for method, prompts, length in cells:
        row: dict[str, Any] = {"method": method, "n": spec["n"], "prompts": prompts, "prompt_tokens": length}
        results.append(row)
        try:
            draw = getattr(subject, method)(prompt_ids(spec["shape"], prompts, length))
            # A manager of generate_batch is made for so many tokens.
            warm_up = new if method == "generate_batch" else min(new, 8)
            row |= _timed(draw, warm_up, new, prompts * spec["n"] * new, spec["repeats"], spec["cell_seconds"])
            limit = subject.limit(prompts, length, new, speeds)
            row["limit_seconds"] = round(limit["total"], 4)
            row["share_of_limit"] = round(limit["total"] / row["seconds"], 3)
            if method != "generate_batch" and (prompts, length) == (max(spec["prompts"]), spec["prompt_tokens"][0]):
                row["profile"] = busy_share(lambda draw=draw: draw(min(new, 16)))
        except Exception as error:
            row["failed"] = f"{type(error).__name__}: {error}"[:600]
        finally:
            subject.forget()
        record["results"] = results
        print({k: v for k, v in row.items() if k != "profile"}, file=sys.stderr, flush=True)


def _timed(draw: Draw, warm_up: int, new: int, tokens: int, repeats: int, limit: float) -> dict[str, Any]:
    """Return the median of up to `repeats` runs, fewer where they take longer than `limit` seconds together."""
    first = seconds(lambda: draw(warm_up))
    before, runs = allocated(), []
    if ON_GPU:
        torch.cuda.reset_peak_memory_stats()
    while len(runs) < repeats and (not runs or sum(runs) < limit):
        drawn: list[int] = []
        runs.append(seconds(lambda drawn=drawn: drawn.append(draw(new))))
        if drawn[0] != tokens:
            raise RuntimeError(f"drew {drawn[0]} tokens instead of {tokens}")
    median = statistics.median(runs)
    peak = torch.cuda.max_memory_allocated() / 2**20 if ON_GPU else 0.0
    return {
        "seconds": round(median, 4),
        "runs": [round(run, 4) for run in runs],
        "warm_up_seconds": round(first, 3),
        "tokens_per_second": round(tokens / median, 1),
        "peak_mib": round(peak, 1),
        "peak_mib_above_model": round(peak - before, 1),
    }


def waits(spec: dict[str, Any], record: Record) -> None:
    """Count where the host waits for the device, and how busy the device is, in sampling and in PPO's updates."""
    record["sampling"] = _sampling_waits(spec)
    record["ppo"] = _ppo_waits(spec)


def _sampling_waits(spec: dict[str, Any]) -> dict[str, Any]:
    draw = Sampling(spec).ours(prompt_ids(spec["shape"], spec["prompts"], spec["prompt_tokens"]))
    new = spec["new_tokens"]
    draw(2)
    few, many = count_waits(lambda: draw(new // 2)), count_waits(lambda: draw(new))
    return {
        "waits_per_token": (many.total() - few.total()) / (new - new // 2),
        "sites": dict(many.most_common(20)),
        "profile": busy_share(lambda: draw(min(new, 16))),
    }


def _ppo_waits(spec: dict[str, Any]) -> dict[str, Any]:
    from genrlhf.trainers import PPOConfig, PPOTrainer

    policy = causal_lm(spec["shape"], torch.bfloat16)
    words, ids = tokenizer(spec["shape"]), prompt_ids(spec["shape"], 64, spec["prompt_tokens"])
    counts: dict[str, Counter[str]] = {"training_step": Counter(), "get_batch_samples": Counter()}
    calls: Counter[str] = Counter()
    profiles: list[dict[str, Any]] = []

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            result: list[Any] = []
            if name == "training_step" and calls[name] == spec["profiled_call"]:
                profiles.append(busy_share(lambda: result.append(function(*args, **kwargs))))
            else:
                counts[name] += count_waits(lambda: result.append(function(*args, **kwargs)))
            return result[0]

        return call

    with tempfile.TemporaryDirectory() as folder:
        trainer = PPOTrainer(
            model=policy,
            reward=sequence_classifier(spec["shape"], torch.bfloat16, seed=1, like=policy),
            args=PPOConfig(
                folder,
                **{"per_device_train_batch_size": 16, "gradient_accumulation_steps": 2, "num_ppo_epochs": 2},
                **{"num_rollouts": 2, "freeze_layers": 0.8, "max_new_tokens": 16, "min_new_tokens": 16},
                **{"missing_eos_score": None, "bf16": True, "use_cpu": not ON_GPU, "logging_strategy": "no"},
                **{"save_strategy": "no", "report_to": "none", "disable_tqdm": True},
            ),
            train_dataset=Dataset.from_dict({"prompt": [words.decode(row) for row in ids]}),
            processing_class=words,
            reward_processing_class=words,
        )
        for name in counts:
            setattr(trainer, name, counted(name, getattr(trainer, name)))
        trainer.train()
    return {
        "micro_batches": calls["training_step"],
        "waits_per_micro_batch": counts["training_step"].total() / max(1, calls["training_step"] - len(profiles)),
        "waits_per_update_and_its_share_of_the_rollout": counts["get_batch_samples"].total()
        / max(1, calls["get_batch_samples"]),
        "sites": {name: dict(found.most_common(25)) for name, found in counts.items()},
        "profile_of_a_micro_batch": profiles,
    }


def online(spec: dict[str, Any], record: Record) -> None:
    """Time RLOO and GRPO, ours and TRL's in turns, see `online_vs_trl.py`."""
    from _online_sides import run_side
    from online_vs_trl import compare, least_flops

    record["ceilings"] = speeds = ceilings(torch.bfloat16)
    for share in (0.8, 0.0):
        for method in ("grpo", "rloo"):
            args = argparse.Namespace(**{**spec, "method": method, "freeze_layers": share})
            turns: dict[str, list[dict[str, Any]]] = {}
            for side in ("ours", "trl"):
                turns[side] = [{**run_side(side, args), "load": os.getloadavg()[0]}]
                gc.collect()
                if ON_GPU:
                    torch.cuda.empty_cache()
                record[f"{method} {share}"] = compare(turns, least_flops(args), speeds["flops_per_second"])


def main() -> int:
    path, spec = Path(sys.argv[1]), json.loads(sys.argv[2])
    record = Record(path, spec)
    {"ppo": ppo, "sampling": sampling, "waits": waits, "online": online}[spec["job"]](spec, record)
    record["done"] = True
    return 0


if __name__ == "__main__":
    sys.exit(main())
