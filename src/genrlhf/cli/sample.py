"""`genrlhf sample`."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from genrlhf.cli.frame import add_command as add
from genrlhf.cli.samplers import add_asking_option, add_sampler_options, make_sampler, model_settings
from genrlhf.cli.terminal import print_json, say
from genrlhf.errors import ConfigError, DataError, excerpt, printable
from genrlhf.types import SamplingParams

if TYPE_CHECKING:
    from datasets import Dataset

    from genrlhf.data.asking import Asking
    from genrlhf.sampling.store import Progress, SampleStore, StoreSummary
    from genrlhf.types import Sampler

__all__ = ["add_command"]

KEPT_COLUMNS = ("reference", "dataset")


def add_command(commands: Any) -> None:
    """Add the command to the subparsers."""
    parser = add(
        commands,
        "sample",
        run,
        help="draw n outputs of every prompt, into a file that a killed job goes on with",
        description="Draw n outputs of every prompt of a file or dataset and append them to a JSONL file as they come. "
        "The same command goes on where it stopped; other settings are refused. Under `accelerate launch` the prompts "
        "are shared out among the processes.",
        seed="of the samples",
        output="the JSONL file that the outputs go to",
        reads=("prompts",),
        kept=_kept,
        together=True,
    )
    parser.add_argument("--model", required=True, help="hub name or folder of a causal language model")
    parser.add_argument("--prompts", required=True, help="a JSONL or JSON file, a folder, or the name of a hub dataset")
    parser.add_argument("--split", default="train", help="split of a dataset with several (default: %(default)s)")
    parser.add_argument("--prompt-column", default="prompt", help="column of the prompts (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="only the first so many prompts")
    parser.add_argument("--chat", action="store_true", help="send a text prompt as a user's message")
    # torchrun takes --n for an abbreviation of its own options.
    parser.add_argument("--n", "--num-outputs", type=int, default=1, help="outputs a prompt (default: %(default)s)")
    defaults = SamplingParams()
    for name, kind, text in (
        ("max-new-tokens", int, "longest output, in tokens"),
        ("min-new-tokens", int, "shortest output, in tokens"),
        ("temperature", float, "divides the logits; 0 takes the most likely token"),
        ("top-k", int, "draw from this many most likely tokens; 0: off"),
        ("top-p", float, "draw from the nucleus of this probability; 1: off"),
        ("min-p", float, "draw from tokens this fraction as likely as the likeliest; 0: off"),
        ("repetition-penalty", float, "above 1 discourages tokens that were there before; 1: off"),
    ):
        default = getattr(defaults, name.replace("-", "_"))
        parser.add_argument(f"--{name}", type=kind, default=default, help=f"{text} (default: {default})")
    parser.add_argument(
        "--stop", action="append", default=[], help="an output ends before this string; may be repeated"
    )
    parser.add_argument(
        "--verbalized",
        type=int,
        metavar="K",
        help="ask for K responses with their probabilities a call, and draw one by them (verbalized sampling)",
    )
    parser.add_argument("--verbalized-all", action="store_true", help="keep all K of a call, in place of one")
    parser.add_argument(
        "--verbalized-tail", type=float, metavar="P", help="ask for responses whose probability is below P"
    )
    parser.add_argument("--logprobs", action="store_true", help="keep the log-probability of every token")
    add_sampler_options(parser)
    add_asking_option(parser)
    parser.add_argument("--overwrite", action="store_true", help="throw outputs of other settings away")


def _kept(args: argparse.Namespace) -> str | None:
    store: SampleStore | None = getattr(args, "store", None)
    if store is None:
        return None
    there = sum(file.read_bytes().count(b"\n") for file in store.files())
    return f"{args.output} holds {there} of {len(store.rows)} prompts; the same command goes on from there."


def run(args: argparse.Namespace) -> int:
    """Sample, and say what was sampled."""
    from genrlhf.data.lock import locked
    from genrlhf.models.processes import decided_by_main, join_processes

    if args.n < 1:
        raise ConfigError(f"--n must be at least 1, not {args.n}.")
    params = _params(args)
    prompts = _prompts(args)
    # One process may wait for the others for as long as they sample.
    state = join_processes(timedelta(days=30))
    with ExitStack() as held:
        decided_by_main(lambda: held.enter_context(locked(args.output)))
        return _into_store(args, prompts, params, state)


def _into_store(args: argparse.Namespace, prompts: list[dict[str, Any]], params: SamplingParams, state: Any) -> int:
    from genrlhf.sampling.store import SampleStore

    asking = _asking(args)
    store = SampleStore(
        args.output,
        prompts,
        n=args.n,
        params=params,
        seed=args.seed,
        # A setting that a file does not have is not compared.
        model={**model_settings(args), "asking": asking and vars(asking), "verbalized": _verbalized(args)},
        overwrite=args.overwrite,
        process=state.process_index,
        processes=state.num_processes,
    )
    args.store = store
    summary = _sample(store, args, state)
    if state.is_main_process:
        _print(store, summary, args)
    return 0


def _asking(args: argparse.Namespace) -> Asking | None:
    from genrlhf.data.asking import asking_of

    return None if args.ignore_asking else asking_of(args.model)


def _verbalized(args: argparse.Namespace) -> dict[str, Any] | None:
    """Return the settings of verbalized sampling, where there is any."""
    options = {"--verbalized-all": args.verbalized_all, "--verbalized-tail": args.verbalized_tail is not None}
    if args.verbalized is None:
        if alone := [name for name, given in options.items() if given]:
            raise ConfigError(f"{alone[0]} says how --verbalized K asks; give that too.")
        return None
    keep = "all" if args.verbalized_all else "draw"
    return {"k": args.verbalized, "keep": keep, "tail": args.verbalized_tail}


def _params(args: argparse.Namespace) -> SamplingParams:
    return SamplingParams(
        max_new_tokens=args.max_new_tokens,
        min_new_tokens=args.min_new_tokens,
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        min_p=args.min_p,
        repetition_penalty=args.repetition_penalty,
        stop=tuple(args.stop),
        logprobs=args.logprobs,
    )


def _prompts(args: argparse.Namespace) -> list[dict[str, Any]]:
    from genrlhf.data import check_rows
    from genrlhf.data.sources import read_split

    dataset: Dataset = read_split(args.prompts, args.split)
    if args.limit is not None:
        if args.limit < 1:
            raise ConfigError(f"--limit must be at least 1, not {args.limit}.")
        dataset = dataset.select(range(min(args.limit, len(dataset))))
    check_rows(dataset, [args.prompt_column], source=args.prompts)
    kept = [name for name in KEPT_COLUMNS if name in dataset.column_names]
    rows = [
        {"prompt": row[args.prompt_column], **{name: row[name] for name in kept if row[name] is not None}}
        for row in dataset
    ]
    if args.chat:
        for number, row in enumerate(rows):
            if not isinstance(row["prompt"], str):
                raise DataError(f"{args.prompts}, row {number} is a conversation already; leave out --chat.")
            row["prompt"] = [{"role": "user", "content": row["prompt"]}]
    return rows


def _sample(store: SampleStore, args: argparse.Namespace, state: Any) -> StoreSummary:
    from tqdm.auto import tqdm

    from genrlhf.sampling.filling import fill

    with ExitStack() as shown:
        bars: list[Any] = []

        def sampler() -> Sampler:
            if store.done and state.is_main_process:
                say(f"{args.output}: {len(store.done)} of {len(store.rows)} prompts are there already.")
            made = _sampler(args, state)
            # Of several processes each learns with its first batch how many prompts are its own.
            total, there = (number // store.processes for number in (len(store.rows), len(store.done)))
            bars.append(tqdm(total=total, initial=there, desc="prompts", disable=not state.is_main_process))
            shown.enter_context(bars[0])
            return made

        def report(progress: Progress) -> None:
            bars[0].total = progress.total
            bars[0].set_postfix_str(f"{progress.tokens_per_second:.0f} tokens/s", refresh=False)
            bars[0].update(progress.prompts - bars[0].n)

        return fill(store, sampler, report)


def _sampler(args: argparse.Namespace, state: Any) -> Sampler:
    sampler = make_sampler(args, state.device)
    if (asking := _asking(args)) is not None:
        from genrlhf.sampling.asked import AskedSampler

        sampler = AskedSampler(sampler, asking)
        if state.is_main_process:
            say(f"{args.model} is asked as its folder says: {excerpt(str(asking))}; --ignore-asking leaves that out.")
    if (given := _verbalized(args)) is not None:
        from genrlhf.sampling import VerbalizedSampler

        sampler = VerbalizedSampler(sampler, **given)
    return sampler


def _print(store: SampleStore, summary: StoreSummary, args: argparse.Namespace) -> None:
    figures = {
        "output": args.output,
        "prompts": len(store.rows),
        "sampled_now": summary.prompts,
        "tokens": summary.tokens,
        "seconds": round(summary.seconds, 2),
        "stopped": summary.stopped,
    }
    if args.stop and summary.samples and not summary.stopped:
        say(
            f"none of the {summary.samples} outputs sampled now has ended: neither EOS nor a stop string came within "
            f"{args.max_new_tokens} tokens."
        )
    if args.json:
        print_json(figures)
    elif not summary.prompts:
        print(f"{printable(args.output)} holds {args.n} outputs of each of {len(store.rows)} prompts already.")
    else:
        rate = summary.tokens / max(summary.seconds, 1e-9)
        print(
            f"{printable(args.output)}: {args.n} outputs of each of {len(store.rows)} prompts; {summary.prompts} "
            f"prompts sampled now, {summary.tokens} tokens in {summary.seconds:.1f} s ({rate:.0f} tokens/s)."
        )
