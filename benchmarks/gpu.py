"""What is worth knowing on one GPU, in parts that each leave a file of their own; see `gpu.md`.

    python benchmarks/gpu.py --output FOLDER --trl-path trl-1.10

Part a runs the tests of tests/gpu; b times PPO at the shape of LLaMA-7B beside TRL 1.10; c times N = 16 samples of a
prompt beside transformers' `generate` and `generate_batch`; d counts where the host waits. Every job is a process of
its own that is ended when its time is up; what it has measured until then is kept, and so is why it failed. With
`--dry-run` everything runs on a processor at toy size.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
LOG_CHARACTERS = 8000


class Job(NamedTuple):
    """A process.

    Attributes:
        name: of its results in the file of the part.
        seconds: after which it is ended.
        spec: what `_gpu_jobs.py` is to do; None for the tests.
    """

    name: str
    seconds: float
    spec: dict[str, Any] | None


class Sizes(NamedTuple):
    """How large everything is.

    Attributes:
        ppo: shapes, the largest first, until TRL fits.
        sampling: shapes, with the seconds that each may take.
        settings: of PPO.
        draws: of sampling.
        repeats: of each of its cells, and the seconds after which there are no more.
        waits: of the counts.
        online: of RLOO and GRPO, see `online_vs_trl.py`.
    """

    ppo: tuple[str, ...]
    sampling: tuple[tuple[str, float], ...]
    settings: dict[str, Any]
    draws: dict[str, Any]
    repeats: dict[str, Any]
    waits: dict[str, Any]
    online: dict[str, Any]


PPO = {"model": None, "freeze_layers": 0.8, "epochs": 4, "dtype": "bfloat16", "weights": "bfloat16"}
ONLINE = {"model": None, "epochs": 1, "accumulation": 1, "steps": 3, "dtype": "bfloat16", "weights": "float32"}
FULL = Sizes(
    ppo=("7b", "3b", "1b"),
    sampling=(("135m", 140), ("7b", 160)),
    settings={
        **PPO,
        "prompts": 64,
        "accumulation": 16,
        "scoring_batch": 32,
        "prompt_tokens": 512,
        "new_tokens": 48,
        "steps": 3,
    },
    draws={"n": 16, "prompt_tokens": [400, 1600], "prompts": [1, 4], "new_tokens": 48, "dtype": "bfloat16"},
    repeats={"repeats": 3, "cell_seconds": 4},
    waits={"shape": "135m", "n": 16, "prompts": 4, "prompt_tokens": 400, "new_tokens": 48, "dtype": "bfloat16"},
    online={**ONLINE, "shape": "135m", "prompts": 4, "samples": 8, "prompt_tokens": 200, "new_tokens": 48},
)
TOY = Sizes(
    ppo=("toy",),
    sampling=(("toy", 60),),
    settings={
        **PPO,
        "prompts": 4,
        "accumulation": 2,
        "scoring_batch": 4,
        "prompt_tokens": 16,
        "new_tokens": 4,
        "steps": 2,
    },
    draws={"n": 4, "prompt_tokens": [12, 24], "prompts": [1, 2], "new_tokens": 4, "dtype": "float32"},
    repeats={"repeats": 1, "cell_seconds": 1},
    waits={"shape": "toy", "n": 4, "prompts": 2, "prompt_tokens": 12, "new_tokens": 8, "dtype": "float32"},
    online={**ONLINE, "shape": "toy", "prompts": 2, "samples": 4, "prompt_tokens": 12, "new_tokens": 4},
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="a,b,d,e,c", help="which, in which order")
    parser.add_argument("--output", type=Path, required=True, help="folder for a.json, b.json and so on")
    parser.add_argument(
        "--trl-path", type=Path, help="folder that TRL 1.10 was installed to; without it b runs ours only"
    )
    parser.add_argument("--seconds", type=float, default=480, help="after which no further job begins")
    parser.add_argument("--ppo-shapes", nargs="+", help="shapes of b, the largest first, until TRL fits one")
    parser.add_argument("--trl-weights", choices=["float32", "bfloat16"], default="bfloat16", help="of TRL's models")
    parser.add_argument("--dry-run", action="store_true", help="on a processor, at toy size")
    args = parser.parse_args()
    args.parts = args.parts.split(",")
    if unknown := set(args.parts) - set("abcde"):
        parser.error(f"there are no parts {', '.join(sorted(unknown))}; there are a, b, c, d, e")
    return args


class Runner:
    """Runs jobs one after the other and keeps their results.

    Args:
        args: of the command line.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.sizes = TOY if args.dry_run else FULL
        self.end = time.monotonic() + args.seconds
        self.failures: list[str] = []

    def part(self, name: str) -> None:
        """Run a part; its file is written after every job."""
        jobs: dict[str, Callable[[], Iterator[Job]]] = {
            "a": self.tests,
            "b": self.ppo,
            "c": self.sampling,
            "d": self.waits,
            "e": self.online,
        }
        self.found: dict[str, Any] = {"part": name, "command": " ".join(["python", "benchmarks/gpu.py", *sys.argv[1:]])}
        start = time.monotonic()
        for job in jobs[name]():
            try:
                self.found[job.name] = self.run(job)
            except Exception:
                self.found[job.name] = {"failed": traceback.format_exc()}
                traceback.print_exc()
            if "failed" in self.found[job.name]:
                self.failures.append(f"{name}: {job.name}")
            self.found["seconds"] = round(time.monotonic() - start, 1)
            self.args.output.mkdir(parents=True, exist_ok=True)
            target = self.args.output / f"{name}.json"
            target.write_text(json.dumps(self.found, indent=1) + "\n", encoding="utf-8")

    def run(self, job: Job) -> dict[str, Any]:
        """Run a job to its end or for as long as it may, and return what it has left."""
        # What a dry run takes depends on what else the processor has to do.
        left = 4 * job.seconds if self.args.dry_run else min(job.seconds, self.end - time.monotonic())
        if left < 5:
            return {"failed": "no time was left"}
        print(f"{job.name}: at most {left:.0f} s", file=sys.stderr, flush=True)
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            file, log = Path(folder) / "found.json", Path(folder) / "log"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    self.command(job, file),
                    cwd=ROOT,
                    env=environment(job),
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
                try:
                    code: int | str = process.wait(timeout=left)
                except subprocess.TimeoutExpired:
                    code = "ended, since its time was up"
                finally:
                    end_session(process)
            text = log.read_text(encoding="utf-8", errors="replace")
            found = read_results(job, file)
        took = round(time.monotonic() - start, 1)
        print(f"{job.name}: {code} after {took} s\n{text[-600:]}", file=sys.stderr, flush=True)
        found |= {"process_seconds": took, "log": text[-LOG_CHARACTERS:]}
        return found if code == 0 else {**found, "failed": str(code)}

    def command(self, job: Job, file: Path) -> list[str]:
        """Return the command line of a job."""
        if job.spec is None:
            # At toy size it is the processor that takes the time.
            parallel = [] if self.args.dry_run or importlib.util.find_spec("xdist") is None else ["-n", "4"]
            options = ["-v", "-rs", "-p", "no:cacheprovider", f"--junitxml={file}", *parallel]
            return [sys.executable, "-m", "pytest", "tests/gpu", *options]
        return [sys.executable, str(HERE / "_gpu_jobs.py"), str(file), json.dumps(job.spec)]

    def tests(self) -> Iterator[Job]:
        """Part a."""
        yield Job("tests", 115, None)

    def ppo(self) -> Iterator[Job]:
        """Part b: ours at the largest shape; TRL at the largest that it fits, and ours there."""
        shapes = tuple(self.args.ppo_shapes or self.sizes.ppo)
        settings = {"job": "ppo", "trl_path": str(self.args.trl_path), **self.sizes.settings}
        yield Job(f"ours {shapes[0]}", 75, {**settings, "side": "ours", "shape": shapes[0]})
        if self.args.trl_path is None:
            return
        for shape in shapes:
            name, weights = f"trl {shape}", self.args.trl_weights
            yield Job(name, 100, {**settings, "side": "trl", "shape": shape, "weights": weights, "steps": 2})
            if "side" in self.found[name]:
                break
        else:
            return
        if shape != shapes[0]:
            yield Job(f"ours {shape}", 60, {**settings, "side": "ours", "shape": shape})
        ours, trl = self.found.get(f"ours {shape}", {}).get("side"), self.found[name]["side"]
        if ours:
            self.found["ratio"] = {
                "shape": shape,
                "speedup": round(trl["seconds"] / ours["seconds"], 2),
                "memory_ratio": round(ours["peak_mib"] / max(trl["peak_mib"], 1), 3),
            }

    def sampling(self) -> Iterator[Job]:
        """Part c."""
        for shape, limit in self.sizes.sampling:
            spec = {"job": "sampling", "shape": shape, **self.sizes.draws, **self.sizes.repeats}
            yield Job(shape, limit, spec)

    def waits(self) -> Iterator[Job]:
        """Part d."""
        yield Job("waits", 60, {"job": "waits", "profiled_call": 6, **self.sizes.waits})

    def online(self) -> Iterator[Job]:
        """Part e."""
        yield Job("online", 75, {"job": "online", **self.sizes.online})


def environment(job: Job) -> dict[str, str]:
    """Return the variables of a job: the checkout first, no network, for tests what full determinism asks of cuBLAS."""
    paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        **({"CUBLAS_WORKSPACE_CONFIG": ":4096:8"} if job.spec is None else {}),
    }


def end_session(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def read_results(job: Job, file: Path) -> dict[str, Any]:
    """Return what a job has written: its JSON, or the outcomes of the tests."""
    if not file.is_file():
        return {}
    if job.spec is not None:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found
    cases = [
        {
            "test": f"{case.get('classname')}::{case.get('name')}",
            "seconds": float(case.get("time", 0)),
            "outcome": next((part.tag for part in case if part.tag in ("failure", "error", "skipped")), "passed"),
        }
        for case in ElementTree.parse(file).getroot().iter("testcase")
    ]
    outcomes = [case["outcome"] for case in cases]
    return {"counts": {name: outcomes.count(name) for name in sorted(set(outcomes))}, "cases": cases}


def main() -> int:
    args = parse_args()
    if args.dry_run:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    runner = Runner(args)
    for name in args.parts:
        try:
            runner.part(name)
        except Exception:
            traceback.print_exc()
            runner.failures.append(name)
    for name in args.parts:
        print(summary(args.output / f"{name}.json"))
    if runner.failures:
        print("failed: " + "; ".join(runner.failures))
    return 1 if runner.failures else 0


def summary(file: Path) -> str:
    """Return the figures of a part in a few lines."""
    if not file.is_file():
        return f"{file.stem}: nothing"
    found = json.loads(file.read_text(encoding="utf-8"))
    lines = [f"{found['part']}: {found['seconds']} s"]
    for name, job in found.items():
        if not isinstance(job, dict):
            continue
        lines.append(f"  {name}: {job.get('failed') or job.get('counts') or job.get('side') or ''}"[:600])
        for row in job.get("results", []):
            keys = (
                "method",
                "prompts",
                "prompt_tokens",
                "seconds",
                "tokens_per_second",
                "peak_mib",
                "share_of_limit",
                "failed",
            )
            lines.append("    " + ", ".join(str(row[key])[:200] for key in keys if key in row))
        for key in ("waits_per_token", "waits_per_micro_batch"):
            lines += [f"    {key} {part[key]}" for part in job.values() if isinstance(part, dict) and key in part]
        lines += [
            f"    {cell}: {part['ours']['seconds']} s, {part['trl']['seconds']} s, speedup {part['speedup']}"
            for cell, part in job.items()
            if isinstance(part, dict) and "speedup" in part
        ]
        if name == "ratio":
            lines.append(f"    {job}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
