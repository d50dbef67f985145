"""Run `genrlhf demo` with several seeds and check what it must show.

    python benchmarks/demo_seeds.py --seeds 0 1 2 3 4 5 6 7 8 9

Every seed runs in a folder of its own; the first one runs twice, to compare all figures bit for bit. What has run stays
in `--folder`, where there is one, and the same command goes on from there. The record goes to
`benchmarks/results/demo_seeds.json`. The exit status is 1 where a target is missed. Wall-clock seconds are those of a
machine without other work, and of one demo at a time, or they mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from machine import describe_machine

TARGETS = {
    "ppo_pvr_gain": (">=", 0.10, "PvR in distribution of PPO, less that of SFT"),
    "best_of_n_pvr_gain": (">=", 0.10, "PvR in distribution of best-of-16, less that of SFT"),
    "ppo_ead_loss": (">=", 0.05, "per-input EAD of SFT, less that of PPO"),
    "reward_model_accuracy": (">=", 0.70, "accuracy of the reward model on held-out pairs"),
    "seconds": ("<=", 90, "wall-clock seconds of the whole command"),
    "peak_gib": ("<", 2, "largest resident memory of one of its processes, GiB"),
}


def run_demo(seed: int, folder: Path) -> dict[str, Any]:
    """Run one demo, unless it has run in this folder; return its figures, seconds and peak memory."""
    kept = folder / "run.json"
    if kept.is_file():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    command = [sys.executable, "-m", "genrlhf.cli", "demo", "--seed", str(seed), "--output-dir", str(folder), "--json"]
    goes_on, start = folder.is_dir(), time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"the demo with seed {seed} ended with status {process.returncode}")
    found = {
        "figures": json.loads(printed),
        "seconds": None if goes_on else time.monotonic() - start,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_gib": usage.ru_maxrss / 2**20,
    }
    kept.write_text(json.dumps(found), encoding="utf-8")
    return found


def summarise(run: dict[str, Any]) -> dict[str, float | None]:
    """Return the figures that `TARGETS` speaks of, and the processor time."""
    methods, stages = run["figures"]["methods"], run["figures"]["stages"]
    pvr = {name: figures["pvr"]["id"]["value"] for name, figures in methods.items()}
    ead = {name: figures["diversity"]["per_input"]["ead"]["value"] for name, figures in methods.items()}
    return {
        "ppo_pvr_gain": pvr["ppo"] - pvr["sft"],
        "best_of_n_pvr_gain": pvr["best_of_n"] - pvr["sft"],
        "ppo_ead_loss": ead["sft"] - ead["ppo"],
        "reward_model_accuracy": stages["reward_model"]["held_out_accuracy"],
        "seconds": run["seconds"],
        "cpu_seconds": run["cpu_seconds"],
        "peak_gib": run["peak_gib"],
    }


def met(name: str, value: float | None) -> bool:
    """Say whether a figure meets its target, where it has one and is known."""
    if name not in TARGETS or value is None:
        return True
    sign, limit, _ = TARGETS[name]
    return {">=": value >= limit, "<=": value <= limit, "<": value < limit}[sign]


def main() -> int:
    """Run, record, compare with the targets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, help="where the demos stay; by default they go")
    parser.add_argument(
        "--at-a-time", type=int, default=1, help="demos at a time; more than one has no use for seconds"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "demo_seeds.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(args.at_a_time) as pool:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        names = [*map(str, args.seeds), "again"]
        demos = pool.map(run_demo, [*args.seeds, args.seeds[0]], [folder / name for name in names])
        runs: dict[str, Any] = dict(zip(names, demos, strict=True))
    again = runs.pop("again")
    identical = again["figures"]["methods"] == runs[str(args.seeds[0])]["figures"]["methods"]
    summaries = {seed: summarise(run) for seed, run in runs.items()}
    record = {
        "command": " ".join(["python", "benchmarks/demo_seeds.py", *sys.argv[1:]]),
        "machine": describe_machine(),
        "targets": {name: f"{sign} {limit}: {what}" for name, (sign, limit, what) in TARGETS.items()},
        "summary": summaries,
        "same_seed_same_figures": identical,
        "methods": {seed: run["figures"]["methods"] for seed, run in runs.items()},
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    missed = not identical
    for seed, summary in summaries.items():
        for name, value in summary.items():
            missed |= not met(name, value)
            shown = "not known" if value is None else f"{value:8.3f}"
            what = TARGETS[name][2] if name in TARGETS else "processor seconds of all its processes"
            print(f"seed {seed}  {name:22s} {shown}  {'' if met(name, value) else 'MISSED: '}{what}")
    print(f"same seed, same figures: {identical}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
