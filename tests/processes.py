"""Tests that run in several processes, which are forks of one that has imported what is slow to import."""

from __future__ import annotations

import gc
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from multiprocessing.connection import wait
from pathlib import Path
from typing import NoReturn

import torch.distributed

ROOT = Path(__file__).parents[1]
SECONDS = 300
# A process of its own would take six seconds of a processor to import this.
IMPORTED = ["torch.distributed", "genrlhf.cli", "genrlhf.studies", "genrlhf.trainers.ppo", "sentence_transformers"]
IMPORTED += [f"genrlhf.trainers.{name}" for name in ("best_of_n", "preference_tuning", "reward_model", "sft")]

FORKS = multiprocessing.get_context("forkserver")
"""What starts processes that have imported all this; there is one server for all tests of a run."""
FORKS.set_forkserver_preload(IMPORTED)


def run_in_two(module: str, *arguments: str) -> str:
    """Run `python -m module arguments` in two processes that know of each other and return what they print."""
    done = run_together(module, *arguments)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout


def run_together(module: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m module arguments` in two processes that know of each other, as `torch.distributed.run` does.

    Once one has failed the other is ended. The return code is that of the first to fail.
    """
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    launched = {
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"},
        # The store is here, and not in one of them.
        **{"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"},
        **environment,
    }
    return _run(module, arguments, [{**launched, "RANK": rank, "LOCAL_RANK": rank} for rank in ("0", "1")])


def run_alone(module: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m module arguments`."""
    return _run(module, arguments, [environment])


def _run(
    module: str, arguments: tuple[str, ...], environments: list[dict[str, str]]
) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "stdout"), Path(folder, "stderr")
        started = [
            FORKS.Process(target=_be, args=(module, arguments, {**os.environ, **environment}, *files))
            for environment in environments
        ]
        for process in started:
            process.start()
        code = _outcome(started)
        stdout, stderr = (file.read_text() for file in files)
    return subprocess.CompletedProcess([module, *arguments], code, stdout, stderr)


def _outcome(started: list[multiprocessing.context.ForkServerProcess]) -> int:
    """Wait for processes, and return the first code that is not 0; 124 where they take too long."""
    running = {process.sentinel: process for process in started}
    code = 0
    while running and not code:
        ended = wait(list(running), timeout=SECONDS)
        code = 0 if ended else 124
        for sentinel in ended:
            process = running.pop(sentinel)
            process.join()
            code = code or process.exitcode or 0
    for process in running.values():
        process.kill()
        process.join()
    return code


def _be(module: str, arguments: tuple[str, ...], environment: dict[str, str], stdout: Path, stderr: Path) -> None:
    """Be `python -m module arguments` in the root of the repository; what is printed is appended to the files."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    for number, path in ((1, stdout), (2, stderr)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    # A Trainer asks for garbage collections, and all that has been imported would be looked through, and copied.
    gc.freeze()
    torch.set_num_threads(1)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def leave() -> NoReturn:
    """End one of the processes, once the other has come as far.

    Without the interpreter's own end, in which gloo's threads now and then abort ("terminate called without an active
    exception").
    """
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
