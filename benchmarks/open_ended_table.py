"""The table of a study of `open_ended`: what every method gives at every temperature, of what is done by now.

    genrlhf study examples/open_ended.yaml --output-dir open_ended
    python benchmarks/open_ended_table.py examples/open_ended.yaml --output-dir open_ended --out open_ended_methods.json

Figures are means over the inputs that have many outputs, and over seeds where there are several, with their 95 %
interval, which holds inputs and seeds both (`genrlhf.studies.seeds`): the share that is right, different
right answers, exp(entropy) of the right ones and of 64 of them (it grows with their number), the share of all right
answers that is found (coverage), different right answers an output (yield), and the share of the right ones that repeat
an exemplar of their prompt (echo).

A point is behind a control, which costs no training, that is ahead of it in one of two figures, share right or
exp(entropy) of 64 right ones, and not behind in the other. It is ahead where it is behind none, and is itself so ahead
of the control whose share right is nearest. Both go by the intervals of differences input by input, and seed by seed.
`--beside` names methods whose differences to every trained one at the same temperature are kept, with these intervals.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genrlhf.data.log import recover_records
from genrlhf.metrics.solutions import effective_answers
from genrlhf.metrics.solutions.verdicts import mean_or_undefined, share_or_undefined
from genrlhf.studies import Study
from genrlhf.studies.results import Results
from genrlhf.studies.seeds import mean_over_seeds, share_over_seeds
from genrlhf.types import Estimate

MANY = 64
RAREFIED = f"exp_entropy_of_{MANY}"
Inputs = dict[str, np.ndarray]
COLUMNS = ("valid", "distinct", "exp_entropy", RAREFIED, "coverage", "yield", "echo", "kl")
HEADS = ("right", "different", "exp(H)", f"exp(H) of {MANY}", "coverage", "yield", "echo", "KL")


def rows_of(study: Study, results: Results) -> list[dict[str, Any]]:
    """Return a row for every method, temperature and seed that has been measured; before them those over the seeds.

    A row over several seeds has None for `seed`, and says in `seeds` which they are.
    """
    outputs = {
        (one["method"], one["temperature"], one["seed"]): study.folder / one["file"]
        for one in results["outputs"]
        if one["set"] == "id"
    }
    stages = results.get("stages", {})
    together, single = [], []
    for name, method in results["methods"].items():
        for temperature, figures in method["temperatures"].items():
            row = {"method": name, "label": method["label"], "free": method["free"], "temperature": float(temperature)}
            by_seed: dict[int, Inputs] = {}
            for seed, alone in figures["seeds"].items():
                by_seed[int(seed)] = inputs = inputs_of(study, alone, outputs[name, temperature, int(seed)])
                more = {"figures": figures_of(alone, [inputs]), "inputs": {int(seed): inputs}}
                seconds = stages.get(f"{name}/seed-{seed}")
                single.append({**row, "seed": int(seed), "seeds": [int(seed)], **more, "training_seconds": seconds})
            if len(by_seed) > 1:
                more = {"figures": figures_of(figures, list(by_seed.values())), "inputs": by_seed}
                together.append({**row, "seed": None, "seeds": list(by_seed), **more})
    return together + single


def inputs_of(study: Study, figures: Mapping[str, Any], outputs: Path) -> Inputs:
    """Return what the study does not keep, and what rows are compared by, of every input of a seed."""
    gold: Any = study.task.gold
    rows = recover_records(outputs)[: study.recipe.sampling.diversity_inputs]
    answers, verdicts, copies = answers_of(gold, rows)
    sizes = [gold.content.families[gold.prompts[row["prompt"]][0]].size for row in rows]
    right = np.array([sum(each) for each in verdicts], dtype=np.float64)
    return {
        "valid": right / [len(each) for each in verdicts],
        RAREFIED: rarefied(answers, verdicts),
        "coverage": np.asarray(figures["solutions"]["distinct_valid"].values) / np.asarray(sizes),
        "yield": np.asarray(figures["solutions"]["yield"].values),
        "echo": np.where(right > 0, copies / np.maximum(right, 1), np.nan),
    }


def figures_of(figures: Mapping[str, Any], inputs: Sequence[Inputs]) -> dict[str, Estimate]:
    """Return the figures of one row, over the seeds that it has inputs of."""
    table = {name: np.stack([each[name] for each in inputs]) for name in inputs[0]}
    solutions = figures["solutions"]
    found = {
        "valid": figures["pass_at_k"]["1"],
        "distinct": solutions["distinct_valid"],
        "exp_entropy": solutions["exp_entropy"],
        RAREFIED: _over(table[RAREFIED], (1.0, float(MANY))),
        "coverage": _over(table["coverage"]),
        "yield": _over(table["yield"]),
        "echo": _over(table["echo"]),
    }
    return found | ({"kl": figures["kl"]} if "kl" in figures else {})


def _over(table: np.ndarray, bounds: tuple[float, float] | None = None) -> Estimate:
    """Return the mean of (seeds, inputs) values between bounds, by default of shares, of the inputs that all have."""
    known = ~np.isnan(table).any(axis=0)
    if len(table) == 1 or not known.any():
        values = np.where(known, table[0], np.nan)
        return share_or_undefined(values) if bounds is None else mean_or_undefined(values, bounds)
    return share_over_seeds(table) if bounds is None else mean_over_seeds(table, bounds=bounds)


def answers_of(gold: Any, rows: Sequence[Mapping[str, Any]]) -> tuple[list[list[str]], list[list[bool]], np.ndarray]:
    """Return of every input what its outputs say, which are right, and how many of these repeat an exemplar."""
    answers, verdicts, copied = [], [], []
    for row in rows:
        texts = list(dict.fromkeys(row["outputs"]))
        prompts = [row["prompt"]] * len(texts)
        known = dict(zip(texts, gold.answers(prompts, texts), strict=True))
        copies = dict(zip(texts, gold.copies(prompts, texts), strict=True))
        answers.append([known[text] or text for text in row["outputs"]])
        verdicts.append([known[text] is not None for text in row["outputs"]])
        copied.append(sum(copies[text] for text in row["outputs"]))
    return answers, verdicts, np.array(copied, dtype=np.float64)


def rarefied(answers: Sequence[list[str]], verdicts: Sequence[list[bool]]) -> np.ndarray:
    """Return exp(entropy) of so many right answers of every input, NaN where there are fewer."""
    pairs = zip(answers, verdicts, strict=True)
    return np.array([effective_answers([each], [right], rarefy_to=MANY).value for each, right in pairs])


def compared(rows: list[dict[str, Any]]) -> None:
    """Say of every trained row whether it is behind or ahead of the controls of its seeds."""
    for row in rows:
        controls = [other for other in rows if other["free"] and other["seed"] == row["seed"]]
        if row["free"] or not controls:
            continue
        behind = [_named(other) for other in controls if _beats(other, row)]
        nearest = min(controls, key=lambda other: abs(_value(other, "valid") - _value(row, "valid")))
        row["behind"] = behind
        row["nearest_control"] = _named(nearest)
        row["ahead"] = not behind and _beats(row, nearest)


def _beats(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    differences = [difference(one, other, name) for name in ("valid", RAREFIED)]
    ends = [(-np.inf, np.inf) if each is None else each.ci for each in differences]
    return any(low > 0 for low, _ in ends) and all(high >= 0 for _, high in ends)


def difference(one: Mapping[str, Any], other: Mapping[str, Any], name: str) -> Estimate | None:
    """Return the mean difference over the inputs, and the seeds, that both have a value of; None where few have."""
    seeds = [seed for seed in one["inputs"] if seed in other["inputs"]]
    values = np.stack([one["inputs"][seed][name] - other["inputs"][seed][name] for seed in seeds])
    known = values[:, np.isfinite(values).all(axis=0)]
    return mean_over_seeds(known) if 2 * known.shape[1] > values.shape[1] else None


def beside(rows: list[dict[str, Any]], names: Sequence[str]) -> None:
    """Add to every trained row how far it is from those of other methods at its temperature, of its seeds."""
    for row in rows:
        if not row["free"]:
            others = (each for each in rows if each["method"] in names and _alike(each, row) and each is not row)
            row["beside"] = {
                other["method"]: {
                    name: found for name in ("valid", RAREFIED) if (found := difference(row, other, name))
                }
                for other in others
            }


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bool(one["temperature"] == other["temperature"] and one["seed"] == other["seed"])


def _value(row: Mapping[str, Any], name: str) -> float:
    return float(row["figures"][name].value)


def _named(row: Mapping[str, Any]) -> str:
    return f"{row['method']}@{row['temperature']:g}"


def by_family(study: Study, rows: list[dict[str, Any]]) -> None:
    """Add to every row the mean share right and exp(entropy) of every family."""
    gold: Any = study.task.gold
    prompts = study.task.evaluation["id"]["prompt"][: study.recipe.sampling.diversity_inputs]
    families = np.array([gold.prompts[prompt][0] for prompt in prompts])
    single = [row for row in rows if row["seed"] is not None]
    for row in single:
        row["families"] = {
            family: {
                name: round(float(np.mean(np.asarray(row["figures"][name].values)[families == family])), 4)
                for name in ("valid", "distinct", "exp_entropy", RAREFIED)
                if len(row["figures"][name].values) == len(families)
            }
            for family in dict.fromkeys(families.tolist())
        }
    for row in rows:
        if row["seed"] is None:
            parts = [each["families"] for each in single if _same(each, row)]
            row["families"] = {
                family: {
                    name: round(float(np.mean([part[family][name] for part in parts])), 4)
                    for name in parts[0][family]
                    if all(name in part[family] for part in parts)
                }
                for family in parts[0]
            }


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bool(one["method"] == other["method"] and one["temperature"] == other["temperature"])


def lines_of(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the table in Markdown."""
    yield f"| | T | {' | '.join(HEADS)} | beside the controls |"
    yield f"|---|---:|{'---:|' * len(HEADS)}---|"
    for row in rows:
        cells = [
            _cell(row["figures"].get(name), 1 if name in ("distinct", "exp_entropy", RAREFIED) else 3)
            for name in COLUMNS
        ]
        seed = f", seed {row['seed']}" if row["seed"] else f", {len(row['seeds'])} seeds" if row["seed"] is None else ""
        yield f"| {row['label']}{seed} | {row['temperature']:g} | {' | '.join(cells)} | {_said(row)} |"


def _cell(figure: Estimate | None, digits: int) -> str:
    if figure is None or figure.value != figure.value:
        return "–"
    low, high = figure.ci
    return f"{figure.value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _said(row: Mapping[str, Any]) -> str:
    if "behind" not in row:
        return ""
    if row["behind"]:
        return f"behind {row['behind'][0]}" + (f" and {len(row['behind']) - 1} more" if row["behind"][1:] else "")
    return f"ahead of {row['nearest_control']}" if row["ahead"] else "neither"


def main() -> None:
    """Print the table, and write it where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="the YAML of the study")
    parser.add_argument("--output-dir", help="the folder of the study, in place of what the file says")
    parser.add_argument("--device", default="", help="what the study ran on, for the record")
    parser.add_argument("--beside", nargs="*", default=["base", "rloo"], help="methods to keep differences to")
    parser.add_argument("--out", type=Path, help="a JSON file of the rows")
    args = parser.parse_args()
    study = Study.from_yaml(args.file, **({"output_dir": args.output_dir} if args.output_dir else {}))
    results = study.so_far()
    rows = rows_of(study, results)
    compared(rows)
    by_family(study, rows)
    beside(rows, args.beside)
    print("\n".join(lines_of(rows)))
    if args.out:
        for row in rows:
            del row["inputs"]
            row["figures"] = _kept(row["figures"])
            if "beside" in row:
                row["beside"] = {name: _kept(differences) for name, differences in row["beside"].items()}
        settings = {name: value for name, value in results["settings"].items() if name != "output_dir"}
        record = {"device": args.device, "settings": settings, "versions": results["versions"]}
        args.out.write_text(text_of(record, rows), encoding="utf-8")


def _kept(figures: Mapping[str, Estimate]) -> dict[str, Any]:
    return {
        name: {"value": round(each.value, 4), "ci": [round(end, 4) for end in each.ci], "n": each.n}
        for name, each in figures.items()
        if each.value == each.value
    }


def text_of(record: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a record as JSON, with a line a row."""
    lines = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in rows)
    head = json.dumps(record, indent=1, ensure_ascii=False).removesuffix("\n}")
    return f'{head},\n "rows": [\n{lines}\n ]\n}}\n'


if __name__ == "__main__":
    main()
