"""Type every command of README and docs in a terminal of one's own: `python scripts/run_documented_commands.py`.

Each runs as `genrlhf …` in a process of its own, as installed in the environment that runs this, in a folder with the
files and tiny models that the documents name, and with a local server in place of an endpoint: once as it stands, once
into a pipe that closes, once with its output in cp1252, once in a folder that is read-only. A traceback, or a status
that is neither 0 nor 1 with one line, ends the run with status 1. `demo` takes minutes, and runs with `--demo` alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.cli.documented import DOCUMENTS, answer, clear, documented_commands, label, prepare, typed
from tests.metrics.preference.judging.chat_server import ChatServer


def run(command: list[str], folder: Path, environment: dict[str, str], *, closed: bool) -> tuple[int, str]:
    """Run a command; return its status and what it said on stderr."""
    stdout: int = subprocess.DEVNULL
    if closed:
        read, stdout = os.pipe()
        os.close(read)
    done = subprocess.run(
        ["genrlhf", *command],
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    if closed:
        os.close(stdout)
    return done.returncode, done.stderr


def fault(status: int, said: str, *, may_fail: bool) -> str | None:
    """Return what is wrong with how a command ended."""
    told = [line for line in said.replace("\r", "\n").splitlines() if line.startswith("genrlhf")]
    if "Traceback" in said or "Exception ignored" in said:
        return said
    if status == 0 or (status == 1 and may_fail and told):
        return None
    return f"status {status}: {said[-500:]}"


def main() -> int:
    """Run all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", action="store_true", help="run genrlhf demo, too")
    args = parser.parse_args()
    faults = 0
    with tempfile.TemporaryDirectory() as home, ChatServer(answer=answer) as server:
        prepared = Path(home) / "prepared"
        prepared.mkdir()
        prepare(prepared)
        read_only = Path(home) / "read only"
        environment = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "sk-none", "HF_HUB_OFFLINE": "1"}
        for how in ("as it stands", "closed pipe", "cp1252", "read-only"):
            for document in DOCUMENTS:
                folder = Path(home) / "user"
                shutil.rmtree(folder, ignore_errors=True)
                shutil.copytree(prepared, folder)
                place = folder
                if how == "read-only":
                    # Root may write anywhere but where the system has nothing to be written.
                    read_only.mkdir(mode=0o555, exist_ok=True)
                    place = Path("/sys/kernel") if os.geteuid() == 0 else read_only
                for command in documented_commands(document):
                    if command[0] == "demo" and not args.demo:
                        continue
                    clear(command, folder)
                    words = typed(command, server.url)
                    if how == "read-only":
                        words = [str(folder / w) if "." in w and (folder / w).exists() else w for w in words]
                    start = time.perf_counter()
                    encoding = {"PYTHONIOENCODING": "cp1252"} if how == "cp1252" else {}
                    ended = run(words, place, {**environment, **encoding}, closed=how == "closed pipe")
                    wrong = fault(*ended, may_fail=how == "read-only" or "--local-model" in command)
                    faults += wrong is not None
                    taken = time.perf_counter() - start
                    print(
                        f"{'FAULT' if wrong else 'right'} {taken:5.1f} s  {how}: genrlhf {' '.join(command)}",
                        flush=True,
                    )
                    if wrong:
                        print(wrong, flush=True)
                    label(folder)
    print(f"{faults} faults")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
