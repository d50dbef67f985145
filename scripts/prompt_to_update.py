"""Count the lines that a reader passes from a prompt to an update of the policy: `python scripts/prompt_to_update.py`.

One rollout and one optimizer step of PPO on the embedded task are run with every call noted, from when the Trainer asks
for prompts to the optimizer's step. Counted are the files of genrlhf of which a function ran in between; by file:

    lines      that are not blank
    code       of these, neither comment nor docstring
    ran        of the code, in functions that were called

Options choose what is run: `--advantage`, and `--freeze-layers` for a shared trunk.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import json
import sys
import tempfile
import tokenize
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import genrlhf

PACKAGE = Path(genrlhf.__file__).parent


class Calls:
    """The code objects of genrlhf that are called while it is active."""

    def __init__(self) -> None:
        self.codes: set[CodeType] = set()
        self._inside = False

    def note(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and self._inside and frame.f_code.co_filename.startswith(str(PACKAGE)):
            self.codes.add(frame.f_code)

    def begin(self) -> None:
        self._inside = True
        sys.setprofile(self.note)

    def end(self) -> None:
        self._inside = False
        sys.setprofile(None)


def run(calls: Calls, folder: str, advantage: str, freeze_layers: float) -> None:
    """Train for one step, with `calls` active between prompts and update."""
    from transformers import TrainerCallback

    from genrlhf import PPOConfig, PPOTrainer, load_task

    task = load_task("embedded", n_demonstrations=8, n_preferences=8, n_prompts=16, n_validation=8, n_evaluation=8)

    class Stop(TrainerCallback):
        def on_optimizer_step(self, *_: Any, **__: Any) -> None:
            calls.end()

    class Watched(PPOTrainer):
        def get_batch_samples(self, *given: Any, **options: Any) -> Any:
            calls.begin()
            return super().get_batch_samples(*given, **options)

    settings: dict[str, Any] = {"samples_per_prompt": 4} if advantage != "gae" else {}
    if advantage in ("maxrl", "pass_at_k"):
        settings |= {"kl_in_loss": True, "kl_estimator": "k3", "missing_eos_score": None}
    trainer = Watched(
        model=task.model,
        reward=lambda prompts, completions: [float(len(text) < 40) for text in completions],
        args=PPOConfig(
            folder,
            num_rollouts=1,
            num_ppo_epochs=1,
            per_device_train_batch_size=8,
            max_new_tokens=8,
            advantage=advantage,
            freeze_layers=freeze_layers,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            **settings,
        ),
        train_dataset=task.prompts,
        callbacks=[Stop()],
    )
    trainer.train()


def docstrings(tree: ast.AST) -> set[int]:
    """Return the lines of docstrings."""
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return found


def counts(path: Path, codes: set[CodeType]) -> dict[str, int]:
    """Return the figures of one file."""
    text = path.read_text(encoding="utf-8")
    filled = {number for number, line in enumerate(text.splitlines(), start=1) if line.strip()}
    tree = ast.parse(text)
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    no_code = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    code = {n for t in tokens if t.type not in no_code for n in range(t.start[0], t.end[0] + 1)} & filled
    code -= docstrings(tree)
    firsts = {each.co_firstlineno for each in codes}
    ran: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            if first in firsts:
                ran.update(range(first, (node.end_lineno or first) + 1))
    return {"lines": len(filled), "code": len(code), "ran": len(code & ran)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--advantage", default="gae", help="as of PPOConfig")
    parser.add_argument("--freeze-layers", type=float, default=0.0, help="as of PPOConfig")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    calls = Calls()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        run(calls, folder, given.advantage, given.freeze_layers)
    by_file: dict[str, set[CodeType]] = {}
    for code in calls.codes:
        by_file.setdefault(code.co_filename, set()).add(code)
    found = {str(Path(name).relative_to(PACKAGE)): counts(Path(name), codes) for name, codes in by_file.items()}
    found = dict(sorted(found.items(), key=lambda item: -item[1]["lines"]))
    total = {key: sum(each[key] for each in found.values()) for key in ("lines", "code", "ran")}
    if given.json:
        print(json.dumps({"files": found, "total": total}))
        return
    print(f"{'lines':>6} {'code':>6} {'ran':>6}  file")
    for name, each in [*found.items(), ("in all", total)]:
        print(f"{each['lines']:6} {each['code']:6} {each['ran']:6}  {name}")


if __name__ == "__main__":
    main()
