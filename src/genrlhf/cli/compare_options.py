"""The options of `genrlhf compare`."""

from __future__ import annotations

import argparse

from genrlhf.cli.samplers import add_asking_option
from genrlhf.cli.study import number_of_jobs
from genrlhf.metrics.preference.judging.templates import ANSWERS, TASKS
from genrlhf.types import SamplingParams

__all__ = ["add_drawing", "add_inputs", "add_measures", "add_processes"]


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """Add the options of what is compared on."""
    group = parser.add_argument_group("inputs")
    group.add_argument(
        "--prompts",
        metavar="FILE",
        help='a file of rows, a folder or the name of a hub dataset, with "prompt", and maybe "reference" and '
        '"dataset", the evaluation set (default: the prompts of the first file of outputs)',
    )
    group.add_argument("--split", default="train", help="split of a dataset with several (default: %(default)s)")
    group.add_argument("--task", metavar="NAME", help="the evaluation sets of a task, such as embedded or tldr")
    group.add_argument("--limit", type=int, metavar="N", help="only the first so many inputs of every evaluation set")


def add_drawing(parser: argparse.ArgumentParser) -> None:
    """Add the options of how models are sampled."""
    group = parser.add_argument_group("sampling of models")
    group.add_argument(
        "--temperatures",
        nargs="+",
        type=float,
        default=[1.0],
        metavar="T",
        help="each is a point of the curve of quality against diversity (default: 1)",
    )
    group.add_argument(
        *("-n", "--n", "--num-outputs"),
        type=int,
        default=4,
        metavar="N",
        help="outputs a prompt (default: %(default)s)",
    )
    longest = SamplingParams().max_new_tokens
    group.add_argument(
        "--max-new-tokens", type=int, default=longest, metavar="N", help="longest output (default: %(default)s)"
    )
    group.add_argument("--stop", action="append", default=[], help="an output ends before this string; may be repeated")
    group.add_argument(
        "--chat", action="store_true", help="send a text prompt as a user's message to models with a chat template"
    )
    add_asking_option(group)
    group.add_argument(
        "--verbalized",
        nargs="+",
        default=[],
        metavar="NAME=K",
        help="a model among the sources that is asked for K responses with their probabilities a call, one of which is "
        "drawn by them (verbalized sampling)",
    )
    group.add_argument(
        "--verbalized-tail", type=float, metavar="P", help="ask it for responses whose probability is below P"
    )
    group.add_argument(
        "--verbalized-tokens",
        type=int,
        metavar="N",
        help="longest answer of its calls (default: K times the longest output and 32 tokens of tags)",
    )
    group.add_argument("--dtype", default="auto", help="of the weights, such as bfloat16 (default: as saved)")
    group.add_argument("--batch-size", type=int, default=128, help="sequences at a time (default: %(default)s)")
    group.add_argument("--trust-remote-code", action="store_true", help="run code that a model's repository ships")
    group.add_argument(
        "--overwrite", action="store_true", help="throw outputs of other settings and models away, once it has its own"
    )


def add_processes(parser: argparse.ArgumentParser) -> None:
    """Add the options of the processes that models are sampled in."""
    group = parser.add_argument_group("processes")
    group.add_argument(
        "--jobs",
        metavar="N",
        type=number_of_jobs,
        default=1,
        help="sample up to N models at a time (or temperatures, or sets of one), each in a process of its own with its "
        "share of the threads, which may round otherwise, and with a GPU of its own where there are several (default: "
        "%(default)s)",
    )
    group.add_argument(
        "--launcher",
        metavar="COMMAND",
        help='sample models in the processes that this command starts, such as "accelerate launch --num_processes 2"',
    )


def add_measures(parser: argparse.ArgumentParser) -> None:
    """Add the options of what is measured."""
    group = parser.add_argument_group("what is measured")
    group.add_argument(
        "--metrics",
        default="ead,distinct",
        help="of diversity, with commas between them, as genrlhf diversity --list-metrics prints them; the first is "
        "that of the plane (default: %(default)s)",
    )
    group.add_argument(
        "--levels",
        default="per_input,across_input",
        help="of per_input (needs two outputs of an input), across_input and pooled (default: %(default)s)",
    )
    group.add_argument(
        "--encoder",
        help="sentence encoder of sentence_bert and vendi: hub name or folder (default: all-MiniLM-L6-v2); named, it "
        "also measures how far the evaluation sets are apart, beside their words and lengths",
    )
    group.add_argument(
        "--classes",
        choices=("exact", "embedding", "entailment"),
        help="what makes outputs the same for metrics that count classes, see genrlhf diversity",
    )
    group.add_argument(
        "--judge",
        metavar="JUDGE",
        help="compares the first output of every input with its reference: gold (the score of --task), reward (that of "
        "--reward), local=FOLDER_OR_NAME (a language model on this machine) or openai=MODEL (behind an "
        "OpenAI-compatible endpoint)",
    )
    group.add_argument("--judge-url", metavar="URL", help="of the endpoint (default: OPENAI_BASE_URL, or OpenAI's own)")
    group.add_argument(
        "--judge-task",
        choices=TASKS,
        default="instructions",
        help="what the outputs are, for a judge that is asked in words (default: %(default)s)",
    )
    group.add_argument(
        "--judge-answer",
        choices=ANSWERS,
        default="ranking",
        help="how it answers (default: %(default)s)",
    )
    group.add_argument(
        "--judge-prices", nargs=2, type=float, metavar="PRICE", help="of a million prompt and a million answer tokens"
    )
    group.add_argument("--judge-budget", type=float, metavar="X", help="stop before more than this could be spent")
    group.add_argument(
        "--reward", metavar="MODEL", help="scores the first output of every input: hub name or folder of a reward model"
    )
    group.add_argument(
        "--baseline", metavar="NAME", help="the judge compares with the first outputs of this source, not references"
    )
    group.add_argument(
        "--reference", metavar="NAME", help="the source whose quality the others are compared at (default: the first)"
    )
    group.add_argument(
        "--kl-from",
        metavar="NAME",
        help="the model among the sources from which the KL of all models is measured, in nats an output, on the first "
        "evaluation set; one more sample of every prompt is drawn for it at every temperature",
    )
    group.add_argument(
        "--texts",
        metavar="FILE",
        help="texts on which the loss of every model is measured beside that of --kl-from, in nats a token: what it "
        'has forgotten; a .txt, in which empty lines separate them, or rows with "text", or with "prompt" and '
        '"completion" (- for rows on standard input; the first 200, by 512 tokens)',
    )
    group.add_argument(
        "--free", nargs="+", default=[], metavar="NAME", help="sources that are controls which cost no training"
    )
