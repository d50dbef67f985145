"""CARP and CoOp CARP on real texts: descriptions of packages, their synopses as critiques, sections as classes.

    python benchmarks/carp.py --encoder FOLDER --rows FILE --output benchmarks/results/carp.json

FILE has rows of `post` (a passage), `summary` (what is said of it), `subreddit` (its class) and `split`. Two copies of
the encoder, without projections, learn from pairs for a few steps; context is learned from a few labelled passages, and
the synopses are clustered. All figures are of passages of the split `test`.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from datasets import Dataset
from machine import describe_machine

from genrlhf.data.files import iter_rows
from genrlhf.models.carp import class_names
from genrlhf.ops import class_logits
from genrlhf.trainers import CARPConfig, CARPTrainer, CoOpCARPConfig, CoOpCARPTrainer

QUIET: dict[str, Any] = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "save_strategy": "no"}


def pairs(rows: list[dict[str, Any]]) -> Dataset:
    """Return rows as trainers take them."""
    return Dataset.from_list(
        [{"passage": row["post"], "critique": row["summary"], "label": row["subreddit"]} for row in rows]
    )


def encoders(args: argparse.Namespace, train: list[Any], test: list[Any], folder: Path) -> dict[str, Any]:
    """Train CARP, and return its figures on held-out pairs before and after."""
    config = CARPConfig(
        str(folder),
        latent_size=None,
        max_length=48,
        max_steps=args.steps,
        per_device_train_batch_size=32,
        freeze_layers=0.5,
        learning_rate=2e-5,
        warmup_steps=2,
        **QUIET,
    )
    trainer = CARPTrainer(args.encoder, config, pairs(train), pairs(test))
    figures = {}
    for when in ("before", "after"):
        if when == "after":
            trainer.train()
        found = trainer.evaluate()
        figures[when] = {name: found[f"eval_{name}"] for name in ("loss", "accuracy")}
    trainer.save_model()
    return {"pairs": len(train), "steps": args.steps, "compared in evaluation": 64, **figures}


def context(carp: Path, train: list[Any], test: list[Any], folder: Path) -> dict[str, Any]:
    """Learn the context of classes, and return the accuracies of names alone and of it."""
    config = CoOpCARPConfig(str(folder), num_train_epochs=15, learning_rate=1e-3, **QUIET)
    trainer = CoOpCARPTrainer(str(carp), config, pairs(train), pairs(test))
    model, held_out = trainer.model.eval(), trainer.eval_dataset
    names = class_names(trainer.tokenizers[1], model.config.classes, max_length=None)
    logits = class_logits(held_out.units, model.encode_classes(names, context=False), model.log_scale)
    alone = float((logits.argmax(-1) == held_out.targets.argmax(-1)).float().mean())
    trainer.train()
    return {"labelled": len(train), "names alone": alone, "with context": trainer.evaluate()["eval_accuracy"]}


def clusters(carp: Path, rows: list[Any], folder: Path) -> dict[str, Any]:
    """Cluster critiques, and return how many passages are of the most frequent section of their cluster."""
    config = CoOpCARPConfig(str(folder), num_classes=8, **QUIET)
    trainer = CoOpCARPTrainer(str(carp), config, pairs(rows).remove_columns("label"))
    within: dict[int, Counter[str]] = {}
    for place, row in zip(trainer.train_dataset.targets.argmax(-1).tolist(), rows, strict=True):
        within.setdefault(place, Counter())[row["subreddit"]] += 1
    most = Counter(row["subreddit"] for row in rows).most_common(1)[0][1]
    return {
        "critiques": len(rows),
        "names": trainer.model.config.classes,
        "purity": sum(max(each.values()) for each in within.values()) / len(rows),
        "purity of one class": most / len(rows),
    }


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", required=True, help="a model of sentence-transformers")
    parser.add_argument("--rows", required=True, help="a file of rows")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--output", type=Path, help="a file of JSON")
    args = parser.parse_args()
    rows = [row for _, row in iter_rows(args.rows)]
    random.Random(0).shuffle(rows)
    train = [row for row in rows if row["split"] == "train"]
    known = sorted({row["subreddit"] for row in train})
    test = [row for row in rows if row["split"] == "test" and row["subreddit"] in known][:128]
    few = [row for name in known for row in [each for each in train if each["subreddit"] == name][:3]]
    start = time.process_time()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        record = {
            "carp": encoders(args, train[:512], test, folder / "carp"),
            "coop_carp": [context(folder / "carp", some, test, folder / f"{len(some)}") for some in (few, train[:140])],
            "clusters": clusters(folder / "carp", train[:300], folder / "clusters"),
        }
    record["seconds"] = round(time.process_time() - start, 1)
    record["encoder"], record["held_out"], record["machine"] = Path(args.encoder).name, len(test), describe_machine()
    text = json.dumps(record, indent=1, ensure_ascii=False)
    print(text)
    if args.output is not None:
        args.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
