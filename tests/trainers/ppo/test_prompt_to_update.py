"""The script that counts the way from a prompt to an update."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "scripts" / "prompt_to_update.py"


def test_the_way_from_a_prompt_to_an_update() -> None:
    command = [sys.executable, str(SCRIPT), "--advantage", "rloo", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    files = set(found["files"])
    on_the_way = ("steps", "buffer", "rollout", "scoring", "shaping", "advantage", "loss", "batches")
    assert {f"trainers/ppo/{name}.py" for name in on_the_way} < files
    # Neither setting up, nor checkpoints, nor evaluation lies between a prompt and the update.
    beside = (
        "trainer",
        "parts",
        "models",
        "checks",
        "checkpoint",
        "evaluation",
        "report",
        "other_sampler",
        "rollout_record",
        "learning",
    )
    assert not {f"trainers/ppo/{name}.py" for name in beside} & files
    assert not {"trainers/checkpoint.py", "trainers/run_folder.py", "rewards/loading.py"} & files
    assert all(each["ran"] <= each["code"] <= each["lines"] for each in found["files"].values())
