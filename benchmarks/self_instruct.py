"""The nearest of many instructions by ROUGE-L: the index of Self-Instruct against comparing with every one of them.

    python benchmarks/self_instruct.py --instructions FILE --output benchmarks/results/self_instruct.json

Texts are drawn from the pairs of adjacent words of the instructions in FILE (rows with an `instruction`), and, as the
worst case of the index, all of the same 12 words in orders of their own: their bound is 1 and says nothing. Times are
those of the processor, of one text against all that the index holds; both ways find the same score.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from machine import describe_machine

from genrlhf.data.files import iter_rows
from genrlhf.data.selfinstruct.nearest import NearestText
from genrlhf.text import rouge_l_of_words, terms

LONGEST = 60


def like(instructions: list[str], draw: random.Random) -> Callable[[], str]:
    """Return what draws texts in which every word follows another as it does in the instructions."""
    follows: dict[str, list[str]] = defaultdict(list)
    for text in instructions:
        words = terms(text)
        for word, after in zip(["", *words], [*words, ""], strict=True):
            follows[word].append(after)

    def text() -> str:
        words = [draw.choice(follows[""])]
        while words[-1] and len(words) < LONGEST:
            words.append(draw.choice(follows[words[-1]]))
        return " ".join(words)

    return text


def measure(text: Callable[[], str], sizes: list[int], asked: int, compared: int) -> list[dict[str, float]]:
    known = NearestText()
    held: list[list[str]] = []
    lines = []
    for size in sizes:
        start = time.process_time()
        while len(known) < size:
            held.append(terms(each := text()))
            known.add(each)
        built = time.process_time() - start
        new = [text() for _ in range(asked)]
        start = time.process_time()
        found = [known.nearest(each)[0] for each in new]
        indexed = time.process_time() - start
        start = time.process_time()
        brute = [max(rouge_l_of_words(terms(each), words) for words in held) for each in new[:compared]]
        assert brute == found[:compared]
        lines.append(
            {
                "texts": size,
                "seconds_to_add": built,
                "milliseconds_index": 1e3 * indexed / asked,
                "milliseconds_comparing_all": 1e3 * (time.process_time() - start) / compared,
                "mean_rouge_l_to_nearest": sum(found) / asked,
            }
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instructions", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 50_000])
    parser.add_argument("--asked", type=int, default=300)
    parser.add_argument("--compared", type=int, default=10)
    parser.add_argument("--output", type=Path, help="also write the record to this file")
    args = parser.parse_args()
    draw = random.Random(0)
    instructions = [str(row["instruction"]) for _, row in iter_rows(args.instructions)]
    same = [f"word{number}" for number in range(12)]
    record = {
        "like_instructions": measure(like(instructions, draw), args.sizes, args.asked, args.compared),
        "same_words": measure(lambda: " ".join(draw.sample(same, 12)), args.sizes, args.compared, args.compared),
        "instructions": args.instructions.name,
        "machine": describe_machine(),
    }
    print(json.dumps(record, indent=2))
    if args.output:
        args.output.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
