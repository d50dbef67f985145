"""Every command with arguments that work, for tests of what holds for all of them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from genrlhf.cli.main import build_parser
from tests.data.selfinstruct.scripted import SEEDS
from tests.metrics.preference.judging.chat_server import ChatServer

OUTPUTS = [
    {"prompt": f"q{n}", "outputs": [f"a{n} b c" + " c" * n, f"c d e{n}"], "reference": "r", "dataset": "d"}
    for n in range(6)
]
OTHERS = [{**row, "outputs": ["some other words", "and more of them"]} for row in OUTPUTS]
JUDGEMENTS = [
    {
        "instruction": f"q{n}",
        "output_1": f"a{n}",
        "generator_1": "old",
        "output_2": f"b{n} c",
        "generator_2": "new",
        "annotator": "judge",
        "preference": 1 + n % 2,
        "dataset": "d",
    }
    for n in range(6)
]
HUMANS = [{**row, "annotator": "ann", "preference": 1 + n % 3 // 2} for n, row in enumerate(JUDGEMENTS)]


def commands(parser: argparse.ArgumentParser | None = None, *words: str) -> dict[tuple[str, ...], Any]:
    """Return the parser of every command there is, by its words."""
    parser = parser or build_parser()
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        return {words: parser}
    found: dict[tuple[str, ...], Any] = {}
    for group in groups:
        for name, below in group.choices.items():
            found |= commands(below, *words, name)
    return found


class Workplace:
    """A folder with a file for everything that commands read.

    Args:
        folder: made where it is missing.
        server: answers for judge and model.
        rename: changes every text of the files.
    """

    def __init__(self, folder: Path, server: ChatServer, rename: Any = lambda text: text) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.server = folder, server
        for name, rows in {
            "a.jsonl": OUTPUTS,
            "b.jsonl": OTHERS,
            "judged.jsonl": JUDGEMENTS,
            "humans.jsonl": HUMANS,
            "far.jsonl": [{**row, "instruction": f"other {row['instruction']}"} for row in JUDGEMENTS],
            "difficulty.jsonl": [{"instruction": f"q{n}", "instruction_difficulty": n / 9} for n in range(6)],
            "prompts.jsonl": [{"prompt": f"q{n}"} for n in range(6)],
            "seeds.jsonl": SEEDS,
            "unlike.jsonl": [{"instruction": "Sing a song of sixpence."}],
        }.items():
            (folder / name).write_text("".join(json.dumps(_renamed(row, rename)) + "\n" for row in rows))
        pool = {"annotators": [{"model": "m", "base_url": server.url, "max_retries": 0}]}
        (folder / "pool.yaml").write_text(json.dumps(pool))
        self._label(rename)
        self._study(rename)

    def _label(self, rename: Any) -> None:
        from genrlhf.metrics.preference.validating.labelling import draw_pairs, key_rows

        rows = key_rows(draw_pairs({"d": [_renamed(row, rename) for row in JUDGEMENTS]}, per_set=3, seed=0))
        (self.folder / "key.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        labels = [{"item": row["item"], "choice": "A"} for row in rows]
        saved = {"format": "genrlhf-labels", "version": 1, "page": rows[0]["page"], "labels": labels}
        (self.folder / "labels.json").write_text(json.dumps({**saved, "annotator": "Ann"}))

    def _study(self, rename: Any) -> None:
        from genrlhf.studies.results import write_results
        from tests.studies.results_record import example_results

        record = example_results()
        for entry in record["outputs"]:
            file = self.folder / "study" / entry["file"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(json.dumps(_renamed(row, rename)) + "\n" for row in OUTPUTS))
        write_results({**record, "title": rename(record["title"])}, self.folder / "study")

    def arguments(self, *words: str) -> dict[str, str | list[str]]:
        """Return the arguments of a command by their names, options with their dashes."""
        at = {file.name: str(file) for file in self.folder.iterdir()}
        endpoint = ["--base-url", self.server.url]
        made: dict[tuple[str, ...], dict[str, Any]] = {
            ("demo",): {"--output-dir": str(self.folder / "demo")},
            ("compare",): {
                "sources": [f"a={at['a.jsonl']}", f"b={at['b.jsonl']}"],
                "--prompts": at["a.jsonl"],
                "--output-dir": str(self.folder / "comparison"),
            },
            ("sample",): {
                "--prompts": at["prompts.jsonl"],
                "--output": str(self.folder / "sampled.jsonl"),
                "": ["--model", "m", "--chat", *endpoint],
            },
            ("diversity",): {
                "files": [at["a.jsonl"], at["b.jsonl"]],
                "--csv": str(self.folder / "figures.csv"),
                "": ["--compare"],
            },
            ("methods",): {},
            ("tasks",): {},
            ("study",): {"file": "tests.studies.toys:study", "--output-dir": str(self.folder / "study")},
            # In place of the last words for the settings that a method takes.
            ("train",): {"": ["sft", "--model", "m", "--train_file", at["prompts.jsonl"]]},
            ("judge", "run"): {
                "first": at["a.jsonl"],
                "second": at["b.jsonl"],
                "--known": at["judged.jsonl"],
                "--output": str(self.folder / "annotations.jsonl"),
                "": ["--model", "m", *endpoint, "--max-retries", "0"],
            },
            ("judge", "validate"): {
                "files": at["judged.jsonl"],
                "--humans": at["humans.jsonl"],
            },
            ("judge", "export"): {
                "files": at["judged.jsonl"],
                "--output": str(self.folder / "page.html"),
                "": ["--per-set", "3"],
            },
            ("judge", "import"): {
                "key": at["key.jsonl"],
                "files": at["labels.json"],
                "--output": str(self.folder / "labelled.jsonl"),
            },
            ("data", "annotate"): {
                "files": [at["a.jsonl"]],
                "--pool": at["pool.yaml"],
                "--output": str(self.folder / "preferences.jsonl"),
            },
            ("data", "self-instruct"): {
                "--seeds": at["seeds.jsonl"],
                "--unlike": at["unlike.jsonl"],
                "--output-dir": str(self.folder / "instructions"),
                "": ["--model", "m", "--chat", "--target", "2", *endpoint],
            },
            ("report",): {"folder": str(self.folder / "study"), "--output": str(self.folder / "report.html")},
            ("power",): {"files": [at["a.jsonl"], at["b.jsonl"]], "--difference": "0.2"},
            ("win-rate",): {"files": at["judged.jsonl"], "--ood": at["far.jsonl"]},
        }
        assert words in made, f"genrlhf {' '.join(words)} has no example in tests/cli/commands.py; add one"
        return made[words]

    def command(self, *words: str, **changes: Any) -> list[str]:
        """Return what is typed."""
        given = {**self.arguments(*words), **changes}
        if "--difficulty" in changes:
            del given["--ood"]
        if "--prompts" in changes and words not in (("sample",), ("compare",)):
            # Standard input has the prompts of one file.
            given.pop("second", None)
            given |= {"files": [given["files"][0]], "": []} if "files" in given else {"--references": []}
        typed = list(words)
        for name, values in given.items():
            if not name.startswith("-"):
                typed += [values] if isinstance(values, str) else values
        for name, values in given.items():
            if name.startswith("-"):
                typed += [name, *([values] if isinstance(values, str) else values)]
        return typed


def _renamed(value: Any, rename: Any) -> Any:
    """Return what JSON holds with every text changed, but for the names of columns."""
    if isinstance(value, str):
        return rename(value)
    if isinstance(value, list):
        return [_renamed(item, rename) for item in value]
    return {name: _renamed(item, rename) for name, item in value.items()} if isinstance(value, dict) else value
