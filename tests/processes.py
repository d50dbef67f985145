"""Tests that run in several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import torch.distributed


def run_in_two(module: str, *arguments: str) -> str:
    """Run `python -m module arguments` in two processes that know of each other and return what they print."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", module]
    done = subprocess.run(
        [*launch, *arguments],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout


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
