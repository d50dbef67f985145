"""All methods in one study of the embedded task: what it found and how each was trained, as one record.

    cd examples && OMP_NUM_THREADS=1 genrlhf study all_methods.yaml --jobs 2 && cd ..
    python benchmarks/methods_in_study.py examples/all_methods

The figures of every method at each temperature, over seeds and of each seed; which are dominated by what costs no
training; and what each trainer logged. Of a study that is not finished it is what there is by now. The record goes to
`benchmarks/results/all_methods.json`, of which `scripts/all_methods_in_docs.py` makes `docs/results/all_methods.md` and
the curves of `docs/methods/`. `--output DIR` writes `results.json` and every seed's log there, too.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from machine import describe_machine

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "benchmarks" / "results" / "all_methods.json"
COMMAND = "cd examples && OMP_NUM_THREADS=1 genrlhf study all_methods.yaml --jobs 2"
FIGURES = ("pvr", "gap", "gold", "reward", "kl", "diversity")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the study")
    parser.add_argument("--yaml", default="all_methods.yaml", help="of the study, in examples/ (default: %(default)s)")
    parser.add_argument("--record", type=Path, default=RECORD, help="where the record goes (default: %(default)s)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where results.json and all logs go, too")
    parser.add_argument(
        "--training", type=Path, metavar="FILE", help="training.json of a larger run, for what is missing"
    )
    args = parser.parse_args()
    folder, record, output = args.folder.resolve(), args.record.resolve(), args.output and args.output.resolve()
    os.chdir(ROOT / "examples")
    sys.path.insert(0, os.getcwd())

    from genrlhf.studies.results import to_json, write_results
    from genrlhf.studies.study import load_study

    study = load_study(args.yaml, output_dir=str(folder))
    # What one seed has and another has not yet would be figures of two kinds of methods.
    results, trained = study.so_far(), training(study)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        write_results(results, output, home=folder)
        (output / "training.json").write_text(json.dumps(trained), encoding="utf-8")
    larger = {} if args.training is None else json.loads(args.training.read_text(encoding="utf-8"))
    every = {**{name: {**each, "larger": True} for name, each in larger.items()}, **trained}
    found = {
        "command": COMMAND,
        "machine": describe_machine(),
        "seconds": round(results["seconds"], 1),
        "stages": by_kind(results["stages"]),
        **summarised(to_json(results)),
        "training": {name: each for name, each in every.items() if each["seed"] == min(study.recipe.seeds)},
    }
    record.write_text(json.dumps(rounded(found), ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


def training(study: Any) -> dict[str, Any]:
    """Return what every stage that trains logged, its figures and its settings."""
    from genrlhf.studies.training_log import read_training_log

    return {
        name: {
            "seed": record.settings["seed"],
            "settings": {key: record.settings[key] for key in ("config", "method")},
            "figures": record.figures,
            "seconds": record.seconds,
            "log": read_training_log(study.folder_of(name)),
        }
        for name, record in study.records().items()
        if record.kind == "train"
    }


def by_kind(stages: dict[str, float]) -> dict[str, Any]:
    """Return how many stages of each kind there are, and their seconds in all."""
    kinds: dict[str, list[float]] = {}
    for name, seconds in stages.items():
        first = name.split("/")[0]
        known = ("sample", "kl", "reward", "measure", "preferences", "shifts", "results")
        kinds.setdefault(first if first in known else "train", []).append(seconds)
    return {kind: {"stages": len(every), "seconds": round(sum(every), 1)} for kind, every in kinds.items()}


def summarised(results: Any) -> dict[str, Any]:
    """Return the part of results that the docs show."""
    kept = ("title", "sets", "quality", "diversity", "reference", "warnings", "settings", "versions", "curves")
    methods = {
        name: {**method, "temperatures": {key: figures_of(at) for key, at in method["temperatures"].items()}}
        for name, method in results["methods"].items()
    }
    return {**{key: results[key] for key in kept}, "methods": methods}


def figures_of(at: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a method at one temperature, of each seed the values alone."""
    seeds = {seed: {key: values(each[key]) for key in FIGURES if key in each} for seed, each in at["seeds"].items()}
    return {**{key: at[key] for key in FIGURES if key in at}, "seeds": seeds}


def values(figures: Any) -> Any:
    """Return figures without their uncertainty."""
    if not isinstance(figures, dict):
        return figures
    return figures["value"] if "value" in figures else {key: values(each) for key, each in figures.items()}


def rounded(value: Any) -> Any:
    """Return a record with numbers of five digits."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items() if key != "values"}
    return [rounded(each) for each in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
