"""The diversity metrics against their definitions coded plainly, and against published packages, in one run.

    pip install --target other-packages --no-deps diversity==0.3.1 vendi-score==0.0.3
    python benchmarks/diversity.py --encoder all-MiniLM-L6-v2 --packages other-packages --json

The outputs are those of `--outputs`, or `--inputs` × `--samples` texts of `--words` words of two syllables drawn with a
seed, half of each from its input's own 40 words and half from 5,000 with Zipf's frequencies. No two texts are equal.
`lexical_together` times three metrics on all of them, one after the other in a process that has measured nothing:
`seconds` with the import of nltk, which the first word to be split causes, `seconds_after_import` without.

The plain way is how implementations in circulation go: sets of tuples for n-grams, one pair after the other for
similarities, and every text through the encoder again for every pair. For what takes a model it runs on the first
`--pairwise-inputs` inputs only, and so does ours for the ratio; `seconds` of ours is for all inputs. `speedup` is the
plain way's seconds over ours on the same inputs, `largest_difference` the largest distance between two values of an
input. NLI uses a classifier of the encoder's shape with untrained weights: its values mean nothing, its time and
number of pairs do. Both sides run once before they are timed, on two inputs; what our metrics share of the n-grams
is forgotten between them.

A package that does not import is listed with its error.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from genrlhf.metrics import (
    EAD,
    DistinctN,
    Embedder,
    Homogenisation,
    NgramCosine,
    NLIDiversity,
    SelfBLEU,
    SelfRepetition,
    SentenceBERT,
    VendiScore,
)
from genrlhf.metrics.diversity.nli_model import NLIModel
from genrlhf.text import words

Plain = Callable[[list[str]], float]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", help='a JSONL file with "outputs" in every row')
    parser.add_argument("--inputs", type=int, default=500)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--words", type=int, default=30)
    parser.add_argument("--pairwise-inputs", type=int, default=4)
    parser.add_argument("--encoder", help="folder of a sentence encoder; without it, no metric that takes a model")
    parser.add_argument("--packages", type=Path, help="folder that diversity and vendi-score were installed to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="also write the record to this file")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def make_outputs(args: argparse.Namespace) -> list[list[str]]:
    if args.outputs is not None:
        rows = [json.loads(line)["outputs"] for line in Path(args.outputs).read_text(encoding="utf-8").splitlines()]
        return rows[: args.inputs]
    draw = np.random.default_rng(args.seed)
    frequency = 1 / np.arange(1, 5001)
    frequency /= frequency.sum()
    outputs = []
    for _ in range(args.inputs):
        own = draw.choice(np.arange(5000, 10_000), 40, replace=False)
        texts = []
        for _ in range(args.samples):
            common = draw.choice(5000, args.words // 2, p=frequency)
            special = draw.choice(own, args.words - len(common))
            texts.append(" ".join(pseudo_word(number) for number in draw.permutation([*common, *special])) + ".")
        outputs.append(texts)
    return outputs


def pseudo_word(number: int) -> str:
    """Return one of 10,000 words of two syllables, such as "bado"."""
    syllables = [consonant + vowel for consonant in "bcdfghjklmnpqrstvwxz" for vowel in "aeiou"]
    return syllables[number // 100] + syllables[number % 100]


def ngrams(tokens: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


def plain_ead(texts: list[str]) -> float:
    values = []
    for n in range(1, 6):
        found = [gram for text in texts for gram in ngrams(words(text), n)]
        if found:
            values.append(len(set(found)) / (50257 * (1 - (50256 / 50257) ** len(found))))
    return sum(values) / len(values)


def plain_distinct(texts: list[str]) -> float:
    values = []
    for n in range(1, 6):
        found = [gram for text in texts for gram in ngrams(words(text), n)]
        if found:
            values.append(len(set(found)) / len(found))
    return sum(values) / len(values)


def plain_self_repetition(texts: list[str]) -> float:
    sets = [set(ngrams(words(text), 4)) for text in texts]
    counts = [
        sum(gram in other for j, other in enumerate(sets) if j != i for gram in own) for i, own in enumerate(sets)
    ]
    return sum(math.log(count + 1) for count in counts) / len(texts)


def plain_cosine(texts: list[str]) -> float:
    values = []
    for n in range(1, 6):
        for a, b in itertools.combinations(texts, 2):
            one, other = Counter(ngrams(words(a), n)), Counter(ngrams(words(b), n))
            lengths = math.sqrt(sum(c * c for c in one.values()) * sum(c * c for c in other.values()))
            values.append(sum(c * other[gram] for gram, c in one.items()) / lengths if lengths else 0.0)
    return 1 - sum(values) / len(values)


def plain_self_bleu(texts: list[str]) -> float:
    tokens = [words(text) for text in texts]
    smoothing = SmoothingFunction().method1
    scores = [
        sentence_bleu(tokens[:i] + tokens[i + 1 :], text, smoothing_function=smoothing) for i, text in enumerate(tokens)
    ]
    return sum(scores) / len(scores)


def plain_rouge_l(texts: list[str]) -> float:
    values = []
    for a, b in itertools.combinations(texts, 2):
        one, other = ("".join(c if c.isalnum() and c.isascii() else " " for c in t.lower()).split() for t in (a, b))
        table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
        for i, left in enumerate(one):
            for j, right in enumerate(other):
                table[i + 1][j + 1] = table[i][j] + 1 if left == right else max(table[i][j + 1], table[i + 1][j])
        values.append(2 * table[-1][-1] / (len(one) + len(other)))
    return sum(values) / len(values)


def plain_sentence_bert(encoder: Any) -> Plain:
    def measure(texts: list[str]) -> float:
        values = []
        for pair in itertools.combinations(texts, 2):
            a, b = encoder.encode(list(pair), show_progress_bar=False)
            values.append(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))
        return 1 - sum(values) / len(values)

    return measure


def plain_vendi(encoder: Any) -> Plain:
    def measure(texts: list[str]) -> float:
        kernel = np.zeros((len(texts), len(texts)))
        for i, j in itertools.combinations_with_replacement(range(len(texts)), 2):
            a, b = encoder.encode([texts[i], texts[j]], show_progress_bar=False)
            kernel[i, j] = kernel[j, i] = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        shares = np.linalg.eigvalsh(kernel / len(texts))
        shares = shares[shares > 0]
        return float(np.exp(-(shares * np.log(shares)).sum()))

    return measure


def plain_nli(model: NLIModel) -> Plain:
    def measure(texts: list[str]) -> float:
        values = []
        for pair in itertools.combinations(texts, 2):
            for premise, hypothesis in (pair, pair[::-1]):
                (p,) = model([premise], [hypothesis])
                values.append({0: 1, 1: 0, 2: -1}[int(p.argmax())] * p.max())
        return 2 * sum(values) / len(values)

    return measure


def untrained_classifier(encoder: str, folder: Path) -> NLIModel:
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(0)
    labels = {0: "contradiction", 1: "neutral", 2: "entailment"}
    config = AutoConfig.from_pretrained(encoder, num_labels=3, id2label=labels)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(encoder).save_pretrained(folder)
    return NLIModel(str(folder))


def timed(measure: Callable[[], list[float]]) -> tuple[list[float], float]:
    start = time.perf_counter()
    values = measure()
    return values, time.perf_counter() - start


def against_plain(metric: Any, plain: Plain, outputs: list[list[str]], pairwise: int) -> dict[str, Any]:
    """Time our metric on all outputs and on the first `pairwise` inputs, and the plain way on these."""
    # Other texts, so that nothing of them is remembered.
    warm = [[f"{text} warm" for text in texts] for texts in outputs[:2]]
    metric.batch(warm)
    for texts in warm if pairwise >= len(outputs) else warm[:1]:
        plain(texts)
    theirs, plain_seconds = timed(lambda: [plain(texts) for texts in outputs[:pairwise]])
    ours, seconds_of_some = timed(lambda: metric.batch(outputs[:pairwise]))
    seconds = seconds_of_some if pairwise >= len(outputs) else timed(lambda: metric.batch(outputs))[1]
    return {
        "inputs": pairwise,
        "seconds": round(seconds, 3),
        "seconds_on_those_inputs": round(seconds_of_some, 4),
        "plain_seconds_on_those_inputs": round(plain_seconds, 3),
        "speedup": round(plain_seconds / seconds_of_some, 1),
        "largest_difference": float(np.abs(np.array(ours) - np.array(theirs)).max()),
    }


def lexical_together(outputs: list[list[str]]) -> dict[str, Any]:
    """Time EAD, distinct n-grams and self-repetition."""
    code = (
        "import json, sys, time; from genrlhf.metrics import EAD, DistinctN, SelfRepetition\n"
        "outputs = json.load(sys.stdin); start = time.perf_counter()\n"
        "import nltk.tokenize; imported = time.perf_counter()\n"
        "for metric in (EAD(), DistinctN(), SelfRepetition()): metric.batch(outputs)\n"
        "end = time.perf_counter(); print(json.dumps([end - start, end - imported]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(outputs), capture_output=True, text=True, check=True
    )
    both, after = json.loads(done.stdout)
    return {"seconds": round(both, 3), "seconds_after_import": round(after, 3)}


PACKAGES = {
    "diversity": """
from diversity import compression_ratio, homogenization_score, self_repetition_score
values = {}
start = time.perf_counter()
values["compression_ratio"] = [compression_ratio(t, "gzip") for t in outputs]
seconds = {"compression_ratio": time.perf_counter() - start}
start = time.perf_counter()
values["self_repetition"] = [self_repetition_score(t, verbose=False) for t in outputs]
seconds["self_repetition"] = time.perf_counter() - start
""",
    "vendi_score": """
from vendi_score import vendi
values, seconds = {}, {}
X = np.array(embeddings)
start = time.perf_counter()
values["vendi"] = [float(vendi.score_X(x)) for x in X]
seconds["vendi"] = time.perf_counter() - start
""",
}


def against_package(name: str, folder: Path, outputs: list[list[str]], encoder: Any) -> dict[str, Any]:
    """Run a package in a process of its own and set its values beside ours."""
    embeddings = [encoder.encode(texts, show_progress_bar=False).tolist() for texts in outputs] if encoder else []
    code = (
        "import contextlib, io, json, sys, time\nimport numpy as np\n"
        "given = json.load(sys.stdin)\noutputs, embeddings = given['outputs'], given['embeddings']\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        + "\n".join(f"    {line}" for line in PACKAGES[name].strip().splitlines())
        + "\nprint(json.dumps({'values': values, 'seconds': seconds}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps({"outputs": outputs, "embeddings": embeddings}),
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(folder.resolve()), "PATH": "/usr/bin:/bin"},
    )
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1][:300]}
    theirs = json.loads(done.stdout)
    from genrlhf.metrics import CompressionRatio

    ours = {
        "compression_ratio": CompressionRatio(),
        "self_repetition": SelfRepetition(tokenize=str.split),
        "vendi": VendiScore(Embedder(lambda texts: [known[text] for text in texts])),
    }
    known = {
        text: vector
        for texts, rows in zip(outputs, embeddings, strict=False)
        for text, vector in zip(texts, rows, strict=True)
    }
    found = {}
    for metric, values in theirs["values"].items():
        measure = ours[metric]
        many = getattr(measure, "batch", lambda sets, measure=measure: [measure(texts) for texts in sets])
        own, seconds = timed(lambda many=many: many(outputs))
        found[metric] = {
            "seconds": round(seconds, 4),
            "package_seconds": round(theirs["seconds"][metric], 4),
            "speedup": round(theirs["seconds"][metric] / seconds, 1),
            "largest_difference": float(np.abs(np.array(own) - np.array(values)).max()),
        }
    return found


def main() -> None:
    args = parse_args()
    outputs = make_outputs(args)
    everything = len(outputs)
    found = {
        "ead": against_plain(EAD(), plain_ead, outputs, everything),
        "distinct": against_plain(DistinctN(), plain_distinct, outputs, everything),
        "self_repetition": against_plain(SelfRepetition(), plain_self_repetition, outputs, everything),
        "ngram_cosine": against_plain(NgramCosine(), plain_cosine, outputs, min(100, everything)),
        "self_bleu": against_plain(SelfBLEU(), plain_self_bleu, outputs, min(100, everything)),
        "rouge_l": against_plain(Homogenisation(), plain_rouge_l, outputs, min(20, everything)),
    }
    encoder: Any = None
    if args.encoder:
        from sentence_transformers import SentenceTransformer

        encoder = SentenceTransformer(args.encoder)
        few = min(args.pairwise_inputs, everything)
        found["sentence_bert"] = against_plain(
            SentenceBERT(Embedder(encoder)), plain_sentence_bert(encoder), outputs, few
        )
        found["vendi"] = against_plain(VendiScore(Embedder(encoder)), plain_vendi(encoder), outputs, few)
        with tempfile.TemporaryDirectory() as folder:
            model = untrained_classifier(args.encoder, Path(folder))
            ours = NLIDiversity(model, split="texts", max_pairs=None)
            # All inputs would take an hour.
            found["nli"] = against_plain(ours, plain_nli(model), outputs[:few], few)
            found["nli"]["forward_pairs_per_input"] = args.samples * (args.samples - 1)
    record = {
        "command": " ".join(["python", *sys.argv]),
        "machine": describe_machine(),
        "outputs": {
            "inputs": everything,
            "samples": len(outputs[0]),
            "words": args.words,
            "file": str(args.outputs or ""),
        },
        "lexical_together": lexical_together(outputs),
        "metrics": found,
    }
    if args.packages:
        record["packages"] = {name: against_package(name, args.packages, outputs[:100], encoder) for name in PACKAGES}
    text = json.dumps(record, indent=2)
    if args.output:
        args.output.write_text(text + "\n", encoding="utf-8")
    if args.json:
        print(json.dumps(record))
    else:
        print(text)


if __name__ == "__main__":
    main()
