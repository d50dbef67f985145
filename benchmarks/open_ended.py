"""How many right answers a model gives to each family of `open_ended`, and how many different ones, by temperature.

    python benchmarks/open_ended.py MODEL --source ../shared/data/open_ended.json --temperatures 1 0.5

One prompt a family: its first exemplars for training, in the first format. Figures of n samples: the share that is
right with its standard error, distinct right answers, exp(H) of their shares (plug-in: it grows with n), and the share
of right answers that repeat an exemplar. One prompt decides nothing about a method: there are the task's sets for that.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from pathlib import Path
from typing import Any

from genrlhf.data.tasks.open_ended.families import Family, Format, OpenEnded, read_open_ended
from genrlhf.models.loading import load_causal_lm, load_tokenizer
from genrlhf.sampling import TransformersSampler
from genrlhf.types import SamplingParams


def figures(family: Family, form: Format, exemplars: list[str], texts: list[str]) -> dict[str, Any]:
    """Return what the samples of one prompt say."""
    found = [form.answer_in(text) for text in texts]
    answers = [family.checker.answer(text) if text is not None else None for text in found]
    counts = Counter(answer for answer in answers if answer is not None)
    right = counts.total()
    share = right / len(texts)
    shown = {family.checker.answer(text) for text in exemplars}
    entropy = -sum(n / right * math.log(n / right) for n in counts.values()) if right else math.nan
    return {
        "valid": share,
        "stderr": math.sqrt(share * (1 - share) / len(texts)),
        "distinct": len(counts),
        "exp_entropy": math.exp(entropy) if right else math.nan,
        "echo": sum(n for answer, n in counts.items() if answer in shown) / right if right else math.nan,
        "most": counts.most_common(2),
    }


def measure(sampler: TransformersSampler, content: OpenEnded, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for every family and temperature."""
    form = content.train_formats[args.format] if args.format else next(iter(content.train_formats.values()))
    rows = []
    for family in content.families.values():
        if args.families and family.name not in args.families:
            continue
        exemplars = list(family.exemplars["train"][:3])
        prompt = form.prompt(family, exemplars)
        for temperature in args.temperatures:
            params = SamplingParams(family.max_new_tokens or 8, temperature=temperature, stop=form.stop)
            started = time.perf_counter()
            (texts,) = sampler.sample([prompt], args.n, params, args.seed)
            row = {"family": family.name, "split": family.split, "size": family.size, "temperature": temperature}
            rows.append({**row, **figures(family, form, exemplars, texts), "seconds": time.perf_counter() - started})
            last = rows[-1]
            print(
                f"{family.name:20} T {temperature:<4} valid {last['valid']:.3f} ± {last['stderr']:.3f}  distinct "
                f"{last['distinct']:4}  exp(H) {last['exp_entropy']:6.1f}  echo {last['echo']:.2f}  {last['most']}",
                flush=True,
            )
    return rows


def main() -> None:
    """Print the table, and write it where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a folder or a name on the hub")
    parser.add_argument("--source", help="a file of formats and families (default: those of the package)")
    parser.add_argument("--wordnet", action="store_true", help="also the families of nltk's WordNet")
    parser.add_argument("--families", nargs="*", help="those that are measured (default: all)")
    parser.add_argument("--format", help="of the prompts (default: the first of training)")
    parser.add_argument("--temperatures", nargs="+", type=float, default=[1.0, 0.5])
    parser.add_argument("--n", type=int, default=256, help="samples a prompt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a JSON file of the rows")
    args = parser.parse_args()
    started = time.perf_counter()
    sampler = TransformersSampler(load_causal_lm(args.model).eval(), load_tokenizer(args.model), batch_size=args.n)
    rows = measure(sampler, read_open_ended(args.source, wordnet=args.wordnet), args)
    print(f"{len(rows)} rows in {time.perf_counter() - started:.0f} s")
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
