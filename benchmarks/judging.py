"""Ten thousand judgements of a server that fails one call in five, with three kills on the way.

    python benchmarks/judging.py --json

starts a local server that answers 429 and 500, hangs, cuts connections and sends truncated, empty and other nonsense,
bodies without an end, one byte at a time, far larger than they seem, or nested a hundred thousand deep, and some that
are billed without an answer. It judges through it in a process of its own, kills that process with SIGKILL at random
moments and starts it again. What must hold afterwards: every pair has one right answer in the store, none was asked
twice whose answer had come, and the tokens in the store's book are those on the server's, each once. Calls in flight at
a kill may have been billed without anyone there to write it down: `not_written_down`, at most as many a kill as there
are calls at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from machine import describe_machine  # noqa: E402
from tests.metrics.preference.judging.bill import bill  # noqa: E402
from tests.metrics.preference.judging.chat_server import FAULTS, HOSTILE, ChatServer  # noqa: E402
from tests.metrics.preference.judging.judge_run import CONCURRENCY  # noqa: E402

LARGEST_MIB = 1024


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run, kill and finish the judgements, and count what is there."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OPENAI_API_KEY": ""}
    draw = random.Random(args.seed)
    with ChatServer(args.fault_rate, seed=args.seed, faults=[*FAULTS, *HOSTILE]) as server:
        command = [
            sys.executable,
            "-m",
            "tests.metrics.preference.judging.judge_run",
            server.url,
            str(folder),
            str(args.pairs),
        ]
        start = time.perf_counter()
        peak = 0
        for _ in range(args.kills):
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
            goal = len(server.answered) + draw.randint(args.pairs // 50, args.pairs // (args.kills + 2))
            while len(server.answered) < goal and process.poll() is None:
                time.sleep(0.05)
            peak = max(peak, _peak_mib(process.pid))
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        seconds = time.perf_counter() - start
        report = json.loads(done.stdout)
        found = bill(server, folder, args.pairs)
        requests, unread = len(server.requests), sum(server.unread.values())
    return {
        "seconds": round(seconds, 1),
        "requests": requests,
        "answers": found.answers,
        "wrong": report["wrong"],
        "unanswered": report["unanswered"],
        "billed_without_an_answer": unread,
        "not_written_down": found.not_written_down,
        "prompt_tokens_off": found.prompt_tokens_off,
        "completion_tokens_off": found.completion_tokens_off,
        "peak_mib": max(peak, report["peak_mib"]),
    }


def _peak_mib(process: int) -> int:
    """Return the most memory that a process has had, as far as the system says."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")), 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--fault-rate", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args, Path(folder))
    settings = {name: getattr(args, name) for name in ("pairs", "kills", "fault_rate", "seed")}
    command = " ".join(["python", "benchmarks/judging.py", *sys.argv[1:]])
    record = {"command": command, "machine": describe_machine(), "settings": settings, **found}
    if args.json:
        print(json.dumps(record, indent=2))
    else:
        print("\n".join(f"{name}: {value}" for name, value in found.items()))
    good = (
        found["answers"] == args.pairs
        and found["not_written_down"] <= CONCURRENCY * args.kills
        and found["peak_mib"] < LARGEST_MIB
        and not any(found[name] for name in ("wrong", "unanswered", "prompt_tokens_off", "completion_tokens_off"))
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
