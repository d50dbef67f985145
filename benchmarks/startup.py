"""Time what a user waits for before anything happens: `import genrlhf` and `genrlhf --help`.

    python benchmarks/startup.py

Each command runs `--runs` times in a process of its own, after one run that warms the disk cache; the record, with
medians and the share that Python itself takes, goes to `benchmarks/results/startup.json`. The exit status is 1 where a
target is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from machine import describe_machine

COMMANDS = {
    "python": ([sys.executable, "-c", "pass"], None),
    "import": ([sys.executable, "-c", "import genrlhf"], 0.5),
    "help": ([sys.executable, "-m", "genrlhf.cli", "--help"], 1.0),
}
"""The commands, and the seconds that each may take."""


def seconds(command: list[str]) -> float:
    """Run a command and return how long it took."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> int:
    """Run, record, compare with the targets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "startup.json")
    args = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for run in range(args.runs + 1):
        for name, (command, _) in COMMANDS.items():
            taken = seconds(command)
            if run:
                times[name].append(taken)
    medians = {name: median(taken) for name, taken in times.items()}
    record = {
        "command": " ".join(["python", "benchmarks/startup.py", *sys.argv[1:]]),
        "machine": describe_machine(),
        "targets_seconds": {name: limit for name, (_, limit) in COMMANDS.items() if limit is not None},
        "median_seconds": medians,
        "slowest_seconds": {name: max(taken) for name, taken in times.items()},
    }
    args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    missed = False
    for name, (_, limit) in COMMANDS.items():
        verdict = "" if limit is None else "met" if medians[name] < limit else "MISSED"
        missed |= verdict == "MISSED"
        print(f"{name:7s} {medians[name]:6.3f} s  {verdict}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
