"""Ten thousand judgements of a server that fails one call in five, with three kills on the way.

    python benchmarks/judging.py --json

starts a local server that answers 429 and 500, hangs, cuts connections and sends truncated, empty and other nonsense,
judges through it in a process of its own, kills that process with SIGKILL at random moments and starts it again. What
must hold afterwards: every pair has one right answer in the store, and the store's tokens are those of all prompts and
answers, each once. Calls in flight at a kill may have been answered without anyone there to write it down; they are
counted as `answered_twice`.
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
from tests.metrics.preference.judging.chat_server import ChatServer, tokens_of  # noqa: E402
from tests.metrics.preference.judging.judge_run import conversations  # noqa: E402

from genrlhf.metrics.preference import AnswerStore  # noqa: E402


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run, kill and finish the judgements, and count what is there."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENAI_API_KEY": ""}
    draw = random.Random(args.seed)
    with ChatServer(args.fault_rate, seed=args.seed) as server:
        command = [
            sys.executable,
            "-m",
            "tests.metrics.preference.judging.judge_run",
            server.url,
            str(folder),
            str(args.pairs),
        ]
        start = time.perf_counter()
        for _ in range(args.kills):
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
            goal = len(server.answered) + draw.randint(args.pairs // 50, args.pairs // (args.kills + 2))
            while len(server.answered) < goal and process.poll() is None:
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        seconds = time.perf_counter() - start
        report = json.loads(done.stdout)
        requests, answered = len(server.requests), dict(server.answered)
    answers, prompt_tokens, completion_tokens = AnswerStore(folder / "s.sqlite").total()
    expected = sum(tokens_of(conversation) for conversation in conversations(args.pairs))
    return {
        "seconds": round(seconds, 1),
        "requests": requests,
        "answers": answers,
        "wrong": report["wrong"],
        "unanswered": report["unanswered"],
        "answered_twice": sum(answered.values()) - len(answered),
        "prompt_tokens_off": prompt_tokens - expected,
        "completion_tokens_off": completion_tokens - 7 * args.pairs,
    }


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
    good = found["answers"] == args.pairs and not any(
        found[name] for name in ("wrong", "unanswered", "prompt_tokens_off", "completion_tokens_off")
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
