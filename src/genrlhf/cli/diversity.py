"""`genrlhf diversity`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from genrlhf.cli.frame import add_command as add
from genrlhf.cli.reading import READS, add_reading_options, read_outputs, reading_settings
from genrlhf.cli.solutions import VerdictsOf, add_verdict_options, ks_of, load_checker, solutions_report
from genrlhf.cli.terminal import print_json, say
from genrlhf.data.files import named
from genrlhf.errors import ConfigError, DataError, printable

if TYPE_CHECKING:
    from genrlhf.metrics.diversity.catalogue import MetricOptions
    from genrlhf.metrics.diversity.evaluation import DiversityEvaluation, Level, OutputsRow

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add the command to the subparsers."""
    from genrlhf.metrics.diversity.definitions import DEFINITIONS

    parser = add(
        commands,
        "diversity",
        run,
        help="measure how diverse the outputs in files are, and compare models",
        description="Measure the diversity of outputs, per input and across inputs, with 95 % intervals. Files have "
        'a row an input, {"prompt": ..., "outputs": ["...", ...]}, as `genrlhf sample` writes, or are those of other '
        "tools.",
        seed="of draws and intervals",
        reads=("files", *READS),
        writes=("csv", "plot"),
        folders=("embedding_cache",),
        kept=_kept,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="outputs of a model")
    parser.add_argument(
        "--metrics",
        default="ead,distinct",
        help="names with commas between them (default: %(default)s); --list-metrics prints all",
    )
    parser.add_argument("--list-metrics", action=_ListMetrics, help="print the names of all metrics and exit")
    parser.add_argument(
        "--definition",
        choices=DEFINITIONS,
        default="published",
        help="as the authors of a metric define it, as Kirk et al. use it, or as their code does "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--levels",
        default="per_input,across_input",
        help="of per_input, across_input and pooled (all outputs as one set); default: %(default)s",
    )
    parser.add_argument("--compare", action="store_true", help="compare each file with the first, prompt by prompt")
    parser.add_argument(
        "--match-lengths", action="store_true", help="cut the outputs of two files to equal lengths before all else"
    )
    parser.add_argument("--outputs-per-input", type=int, metavar="K", help="take the first K outputs of every row")
    parser.add_argument("--limit", type=int, help="take the first so many rows")
    parser.add_argument(
        "--draws",
        type=int,
        help="across inputs, average over so many draws of one output of every input (default: the first output of "
        "each, which stands for the others where all are sampled alike; draw where the best come first)",
    )
    parser.add_argument(
        "--tokenizer",
        metavar="NAME",
        help="what metrics of words count: 'words' (the default: between blanks, in scripts without blanks such as "
        "Chinese or Thai every character), 'characters' of every script, or the tokens of a Hugging Face tokenizer by "
        "its name or folder; with more and shorter words, EAD and distinct fall and ROUGE-L rises",
    )
    parser.add_argument("--vocab-size", type=int, default=50257, help="V of EAD (default: %(default)s)")
    parser.add_argument(
        "--encoder",
        help="sentence encoder: hub name or folder (default: all-MiniLM-L6-v2; with --definition released-code "
        "bert-large-nli-stsb-mean-tokens, as in that code)",
    )
    parser.add_argument("--embeddings-url", help="take --encoder from a server with OpenAI's embeddings endpoint")
    parser.add_argument("--embedding-cache", metavar="DIR", help="keep embeddings on disk for the next run")
    parser.add_argument(
        "--nli-model",
        default="FacebookAI/roberta-large-mnli",
        help="NLI classifier: hub name or folder (default: %(default)s)",
    )
    parser.add_argument(
        "--nli-split", choices=("sentences", "texts"), help="what NLI compares (default: as the definition says)"
    )
    parser.add_argument(
        "--max-pairs",
        type=_pairs,
        help="pairs of texts of a set that NLI, ROUGE-L and BERTScore draw where it has more, or all; fewer make the "
        "interval wider (default: 2000 for NLI, 20000 for the two others); the other metrics take all pairs",
    )
    parser.add_argument(
        "--bert-score-model",
        default="distilbert/distilbert-base-uncased",
        help="encoder of bert_score: hub name or folder (default: %(default)s)",
    )
    parser.add_argument(
        "--bert-score-layer",
        type=int,
        metavar="N",
        help="take hidden states after this layer of it, from 1 (default: the one of the bert-score package for models "
        "that it knows, and the last of any other)",
    )
    parser.add_argument(
        "--classes",
        choices=("exact", "embedding", "entailment"),
        help="what makes outputs the same for distinct_k, utility_k, semantic_entropy and likelihood_entropy, which "
        "need it: equal characters but for case and blanks at the ends, a cosine, or entailment both ways round",
    )
    parser.add_argument("--threshold", type=float, default=0.85, help="cosine of one class (default: %(default)s)")
    parser.add_argument("--device", help="where models run, such as cuda")
    parser.add_argument("--csv", metavar="FILE", help="also write the figures as a table")
    parser.add_argument("--plot", metavar="FILE", help="also draw the figures, as .png, .pdf or .svg")
    add_verdict_options(parser)
    add_reading_options(parser)


def _kept(args: argparse.Namespace) -> str | None:
    if not (args.embedding_cache and (Path(args.embedding_cache).expanduser() / "embeddings.sqlite").is_file()):
        return None
    return f"embeddings that were computed are in {args.embedding_cache}; the same command goes on from there."


class _ListMetrics(argparse.Action):
    def __init__(self, option_strings: Any, dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from genrlhf.metrics.diversity.catalogue import METRICS

        print("\n".join(METRICS))
        parser.exit()


def run(args: argparse.Namespace) -> int:
    """Measure, and print what was measured."""
    from genrlhf.cli import diversity_report as report
    from genrlhf.metrics.diversity.catalogue import build_metrics
    from genrlhf.metrics.diversity.lengths import length_warning

    levels = _levels(args.levels)
    _check(args)
    ks = ks_of(args.k)
    checker = load_checker(args.checker)
    metrics = build_metrics(_names(args.metrics, "--metrics"), _options(args))
    notes: list[str] = []
    verdicts = {file: VerdictsOf(args, checker) for file in args.files}
    found = _evaluate(args, metrics, levels, notes, verdicts)
    warnings = notes + [line for file, one in found.items() for line in report.remarks(file, one)]
    warnings += [
        warning
        for name in args.files[1:]
        if (warning := length_warning(found[args.files[0]].mean_words, found[name].mean_words, (args.files[0], name)))
    ]
    counted = {file: _how_counted(one, args) for file, one in found.items()}
    figures = report.figures(found, levels)
    comparisons = report.comparisons(found, levels) if args.compare else {}
    tallies = {file: each.tally for file, each in verdicts.items()}
    solutions = solutions_report(tallies, found, ks, compare=args.compare, seed=args.seed)
    for warning in warnings:
        say(warning)
    if args.json:
        form = report.to_json(
            found,
            figures,
            comparisons,
            counted=counted,
            warnings=warnings,
            settings=_settings(args, counted),
            solutions=solutions,
        )
        print_json(form)
    else:
        blocks = [report.table(found, figures, comparisons, counted), *solutions.tables(args.files[0])]
        print("\n\n".join(blocks))
    if args.csv:
        report.write_csv(args.csv, found, figures, comparisons, solutions)
    if args.plot:
        report.plot(args.plot, found, figures)
    return 0


def _pairs(text: str) -> int | Literal["all"]:
    if text == "all":
        return "all"
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number or all, not {text[:40]!r}") from None


def _levels(text: str) -> list[Level]:
    from genrlhf.metrics.diversity.evaluation import LEVELS

    names = _names(text, "--levels")
    for name in names:
        if name not in LEVELS:
            raise ConfigError(f"--levels has {name!r}; give some of {', '.join(LEVELS)}.")
    return [level for level in LEVELS if level in names]


def _check(args: argparse.Namespace) -> None:
    for name in ("outputs_per_input", "limit", "draws"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, not {value}.")
    if len(set(args.files)) < len(args.files):
        raise ConfigError("A file is named twice; name each once.")
    if args.compare and len(args.files) < 2:
        raise ConfigError("--compare needs two files or more; name the outputs of another model.")
    if args.match_lengths and len(args.files) != 2:
        raise ConfigError(f"--match-lengths needs two files, not {len(args.files)}.")
    if args.plot and not args.plot.endswith((".png", ".pdf", ".svg")):
        raise ConfigError(f"--plot {args.plot} must end in .png, .pdf or .svg.")


def _names(text: str, option: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ConfigError(f"{option} names nothing; give names with commas between them.")
    return list(dict.fromkeys(names))


def _options(args: argparse.Namespace) -> MetricOptions:
    from genrlhf.metrics.diversity.catalogue import MetricOptions
    from genrlhf.metrics.diversity.embeddings import Embedder, sentence_encoder
    from genrlhf.metrics.diversity.nli_scorer import SharedScorer
    from genrlhf.metrics.diversity.tokenizers import named_tokenizer

    encoder: Any = args.encoder or sentence_encoder(args.definition)
    if args.embeddings_url:
        from genrlhf.metrics.diversity.openai_embeddings import OpenAIEmbeddings

        encoder = OpenAIEmbeddings(encoder, base_url=args.embeddings_url)
    return MetricOptions(
        definition=args.definition,
        vocab_size=args.vocab_size,
        embedder=Embedder(encoder, cache=args.embedding_cache, device=args.device),
        scorer=SharedScorer(args.nli_model),
        bert_score_model=args.bert_score_model,
        bert_score_layer=args.bert_score_layer,
        nli_split=args.nli_split,
        max_pairs=args.max_pairs,
        classes=args.classes,
        threshold=args.threshold,
        seed=args.seed,
        tokenizer=None if args.tokenizer is None else named_tokenizer(args.tokenizer),
    )


def _how_counted(one: DiversityEvaluation, args: argparse.Namespace) -> str:
    """Return how the words of a file's outputs are counted, most of which are in one script."""
    from genrlhf.metrics.diversity.tokenizers import how_words_count

    if args.definition == "released-code" and args.tokenizer is None:
        return "words are blank-separated pieces without full stops"
    return how_words_count(args.tokenizer, one.tally.script, one.tally.without_blanks)


def _settings(args: argparse.Namespace, counted: Mapping[str, str]) -> dict[str, Any]:
    """Return what figures depend on beside the outputs."""
    from genrlhf.metrics.diversity.embeddings import sentence_encoder

    kept = (
        *("definition", "tokenizer", "vocab_size", "embeddings_url", "nli_model", "nli_split", "max_pairs", "classes"),
        *("threshold", "bert_score_model", "bert_score_layer", "draws", "seed", "outputs_per_input", "limit"),
        *("match_lengths", "verdicts", "checker"),
    )
    encoder = args.encoder or sentence_encoder(args.definition)
    return {
        "words": "; ".join(dict.fromkeys(counted.values())),
        "encoder": encoder,
        **{name: getattr(args, name) for name in kept},
        **reading_settings(args),
    }


def _evaluate(
    args: argparse.Namespace,
    metrics: Any,
    levels: list[Level],
    notes: list[str],
    verdicts: Mapping[str, VerdictsOf],
) -> dict[str, DiversityEvaluation]:
    from tqdm.auto import tqdm

    from genrlhf.metrics.diversity.evaluation import evaluate_diversity

    streams: dict[str, Iterable[OutputsRow]] = {file: _rows(file, args, notes, verdicts[file]) for file in args.files}
    if args.match_lengths:
        streams = dict(zip(args.files, _matched(*streams.values()), strict=True))
    found = {}
    for file, rows in streams.items():
        with tqdm(desc=printable(file), unit=" inputs", disable=None) as bar:
            found[file] = evaluate_diversity(
                rows, metrics, levels=levels, draws=args.draws, seed=args.seed, progress=bar.update
            )
    return found


def _rows(file: str, args: argparse.Namespace, notes: list[str], verdicts: VerdictsOf) -> Iterator[OutputsRow]:
    from genrlhf.metrics.diversity.evaluation import OutputsRow

    number = 0
    for number, (where, row) in enumerate(read_outputs(file, args, notes), start=1):
        outputs = row["outputs"]
        if args.outputs_per_input is not None:
            if 0 < len(outputs) < args.outputs_per_input:
                raise DataError(
                    f"{where} has {len(outputs)} output(s), fewer than --outputs-per-input {args.outputs_per_input}; "
                    "sample more of them, or drop the row."
                )
            outputs = outputs[: args.outputs_per_input]
        logprobs = row.get("logprobs")
        if isinstance(logprobs, list):
            logprobs = logprobs[: args.outputs_per_input]
        found = OutputsRow(where, _asked(row.get("prompt")), outputs, logprobs)
        if outputs:
            verdicts.add(found, row)
        yield found
        if number == args.limit:
            return
    if not number:
        raise DataError(f"{named(file)} holds no rows; write one JSON object a row.")


def _asked(prompt: Any) -> Any:
    """Return the text of a prompt that is one message of the user's, so that it is the same prompt as its text."""
    if (
        isinstance(prompt, list)
        and len(prompt) == 1
        and isinstance(prompt[0], dict)
        and prompt[0].get("role") == "user"
    ):
        return prompt[0].get("content")
    return prompt


def _matched(first: Iterable[OutputsRow], second: Iterable[OutputsRow]) -> tuple[list[OutputsRow], list[OutputsRow]]:
    """Return the rows of both files, all in memory, with the outputs of equal prompts cut to equal lengths."""
    from genrlhf.metrics.diversity.evaluation import OutputsRow
    from genrlhf.metrics.diversity.lengths import match_lengths

    ours, theirs = list(first), list(second)
    for one, other in zip(ours, theirs, strict=False):
        if one.prompt != other.prompt:
            raise DataError(
                f"{one.place} and {other.place} have different prompts; to match lengths, both files must have the "
                "same prompts in the same order."
            )
    cut = match_lengths([row.outputs for row in ours], [row.outputs for row in theirs])
    matched = [
        [OutputsRow(row.place, row.prompt, outputs) for row, outputs in zip(rows, texts, strict=True)]
        for rows, texts in zip((ours, theirs), cut, strict=True)
    ]
    return matched[0], matched[1]
