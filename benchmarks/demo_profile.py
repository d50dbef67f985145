"""Where the processor time of `genrlhf demo` goes, stage by stage, in one or several versions of the library.

    python benchmarks/demo_profile.py --source before=../before/src after=src --out benchmarks/results/demo_profile.json

Each version runs the whole demo in a process of its own, one stage and one version after the other. Whenever the demo
reports something, the processor time that it has taken is read from `/proc` (Linux) and counted into the stage that has
just been going on: the words of the report before its first colon. Other than wall-clock time this means something on a
shared machine.
`side_by_side_seconds` is how long the stages would take two at a time in the order of `--jobs 2`, were each of them to
take the processor time that was read, with what is before and behind them.
`limit_seconds` is what the products with weights of the tokens that training cannot leave out would take at the speed
of a large product here: the tokens of prompts and completions without padding, forwards and twice as much backwards.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from machine import describe_machine

from genrlhf.studies.demo import demo_study
from genrlhf.studies.time_left import TimeLeft

WEIGHTS = 4 * (4 * 128 * 128 + 3 * 128 * 256)
"""Of the layers of the embedded task's model: four of attention and MLP, 128 wide."""

PROMPT, COMPLETION = 35, 11
"""Tokens of each, on average, of the reward model's rows."""

TRAINED_TOKENS = {
    "sft": 3000 * (PROMPT + COMPLETION),
    "reward_model": 2856 * (PROMPT + 2 * COMPLETION),
    "ppo": 36 * 2 * (32 * PROMPT + 128 * COMPLETION),
}
"""That each stage takes forwards and backwards; a prompt of several texts counts once."""


def processor_seconds(pid: int) -> float:
    """Return the processor time of all threads of a process, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def profile(source: str, seed: int, threads: int) -> dict[str, Any]:
    """Run one demo; return its seconds and those of its stages."""
    environment = {**os.environ, "PYTHONPATH": str(Path(source).resolve()), "OMP_NUM_THREADS": str(threads)}
    stages: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "genrlhf.cli", "demo", "--seed", str(seed), "--output-dir", folder, "--json"]
        known = subprocess.run([*command[:4], "--help"], capture_output=True, text=True, env=environment).stdout
        command += ["--jobs", "1"] if "--jobs" in known else []
        start, stage, before = time.monotonic(), "start", 0.0
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
        ) as run:
            assert run.stderr is not None
            for line in run.stderr:
                name, colon, _ = line.partition("] ")[2].partition(":")
                if line.startswith("[") and colon:
                    now = processor_seconds(run.pid)
                    stages[stage] = round(stages.get(stage, 0.0) + now - before, 2)
                    stage, before = name.strip(), now
            _, status, usage = os.wait4(run.pid, 0)
            run.returncode = os.waitstatus_to_exitcode(status)
        if run.returncode:
            sys.exit(f"the demo of {source} ended with status {run.returncode}")
    total = usage.ru_utime + usage.ru_stime
    stages[stage] = round(stages.get(stage, 0.0) + total - before, 2)
    return {
        "cpu_seconds": round(total, 1),
        "wall_seconds": round(time.monotonic() - start, 1),
        "side_by_side_seconds": round(side_by_side(stages, jobs=2), 1),
        "stages": stages,
    }


def side_by_side(seconds: dict[str, float], *, jobs: int) -> float:
    """Return how long stages take, so many at a time, the one of the longest path to the end first."""
    graph = demo_study().graph()
    if any(stage.name not in seconds for stage in graph):
        return float("nan")
    left = TimeLeft(len(graph), jobs)
    pending, now = list(graph), 0.0
    ends: dict[str, float] = {}
    while pending:
        urgency = left.to_the_end(pending)
        ready = [
            stage
            for stage in pending
            if stage.key not in ends and all(ends.get(need.key, now + 1) <= now for need in stage.needed)
        ]
        running = sum(end > now for end in ends.values())
        for stage in sorted(ready, key=lambda stage: -urgency[stage.key])[: jobs - running]:
            ends[stage.key] = now + seconds[stage.name]
        now = min(end for end in ends.values() if end > now) if any(end > now for end in ends.values()) else now
        for stage in [stage for stage in pending if ends.get(stage.key, now + 1) <= now]:
            left.add(stage, seconds[stage.name])
            pending.remove(stage)
    return now + sum(taken for name, taken in seconds.items() if name not in graph)


def limits() -> dict[str, float]:
    """Return what the products with weights alone would take in each stage of training, in seconds."""
    torch.set_num_threads(1)
    x, w = torch.randn(2048, 128), torch.randn(512, 128)
    taken = []
    for _ in range(50):
        start = time.process_time()
        torch.nn.functional.linear(x, w)
        taken.append(time.process_time() - start)
    speed = 2 * x.numel() * len(w) / min(taken)
    return {name: round(3 * 2 * WEIGHTS * tokens / speed, 1) for name, tokens in TRAINED_TOKENS.items()}


def main() -> None:
    """Run and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = Path(__file__).parent
    parser.add_argument("--source", nargs="+", default=[f"this={here.parent / 'src'}"], help="NAME=FOLDER of versions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=here / "results" / "demo_profile.json")
    args = parser.parse_args()
    found = {}
    for each in args.source:
        name, _, folder = each.partition("=")
        found[name] = profile(folder, args.seed, args.threads)
        print(f"{name}: {found[name]['cpu_seconds']} CPU seconds", flush=True)
    totals = [version["cpu_seconds"] for version in found.values()]
    record = {
        "command": " ".join(["python", "benchmarks/demo_profile.py", *sys.argv[1:]]),
        "machine": describe_machine(),
        "load": os.getloadavg()[1],
        "threads": args.threads,
        "versions": found,
        "ratio": round(totals[-1] / totals[0], 3),
        "limit_seconds": limits(),
    }
    args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
