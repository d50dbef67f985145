"""`genrlhf diversity` on a million outputs: every lexical metric, per input and across inputs, in one process.

    python benchmarks/diversity_million.py --output benchmarks/results/diversity_million.json

Outputs are 62,500 × 16 texts of 30 words of two syllables, drawn with a seed, half of each from its input's own 40
words and half from 5,000 with Zipf's frequencies. `cpu_seconds` and `peak_mib` are those of the command, all of its
threads and reading the file included; `wall_seconds` depends on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import describe_machine

METRICS = "ead,distinct,ngram_cosine,self_bleu,self_repetition,compression_ratio,rouge_l"


def write_outputs(path: Path, inputs: int, samples: int, words: int) -> None:
    draw = np.random.default_rng(0)
    frequency = 1 / np.arange(1, 5001)
    frequency /= frequency.sum()
    syllables = [consonant + vowel for consonant in "bcdfghjklmnpqrstvwxz" for vowel in "aeiou"]
    vocabulary = [syllables[number // 100] + syllables[number % 100] for number in range(10_000)]
    with path.open("w", encoding="utf-8") as file:
        for row in range(inputs):
            own = draw.integers(5000, 10_000, 40)
            common = draw.choice(5000, (samples, words // 2), p=frequency)
            special = own[draw.integers(0, 40, (samples, words - words // 2))]
            numbers = draw.permuted(np.concatenate([common, special], axis=1), axis=1)
            outputs = [" ".join(vocabulary[number] for number in text) + "." for text in numbers]
            file.write(json.dumps({"prompt": f"prompt {row}", "outputs": outputs}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=62_500)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--words", type=int, default=30)
    parser.add_argument("--output", type=Path, help="also write the record to this file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "outputs.jsonl"
        write_outputs(file, args.inputs, args.samples, args.words)
        command = [sys.executable, "-m", "genrlhf", "diversity", str(file), "--metrics", METRICS, "--json"]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        wall = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures = json.loads(done.stdout)
    record = {
        "command": " ".join(["python", *sys.argv]),
        "machine": describe_machine(),
        "load_average": round(os.getloadavg()[0], 1),
        "inputs": args.inputs,
        "samples": args.samples,
        "words": args.words,
        "metrics": METRICS.split(","),
        "wall_seconds": round(wall, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_mib": round(used.ru_maxrss / 1024),
        "figures": {level: figures[level] for level in ("per_input", "across_input")},
    }
    text = json.dumps(record, indent=2)
    if args.output:
        args.output.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
