"""Self-Instruct from its first prompt to rows that can be trained on."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from os import PathLike
from pathlib import Path
from statistics import fmean
from typing import Any

from genrlhf.data.files import replacing, write_rows
from genrlhf.data.formats import as_completion
from genrlhf.data.lock import locked
from genrlhf.data.log import claim_file
from genrlhf.data.selfinstruct.answers import AnswerLog, as_sampler
from genrlhf.data.selfinstruct.config import SelfInstructConfig
from genrlhf.data.selfinstruct.filters import INSTANCE_FILTERS, INSTRUCTION_FILTERS
from genrlhf.data.selfinstruct.prompts import WORDING
from genrlhf.data.selfinstruct.result import SelfInstructResult
from genrlhf.data.selfinstruct.seeds import Instance, Seeds, digest, read_instructions, read_seeds
from genrlhf.data.selfinstruct.steps import Generated, Progress, Steps
from genrlhf.data.tasks.instructions import alpaca_prompt
from genrlhf.errors import ConfigError, DataError, ModelError
from genrlhf.types import HasSettings, Sampler

__all__ = ["ANSWERS", "Progress", "SelfInstructConfig", "SelfInstructResult", "self_instruct"]

ANSWERS = "answers.jsonl"

logger = logging.getLogger(__name__)


def self_instruct(
    sampler: Sampler | Callable[[list[Any]], Sequence[Any]],
    seeds: Seeds,
    output_dir: str | PathLike[str],
    config: SelfInstructConfig | None = None,
    *,
    unlike: Seeds | Sequence[str] = (),
    model: Mapping[str, Any] | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    **settings: Any,
) -> SelfInstructResult:
    r"""Have a model write instructions, and instances of them, from seed tasks.

    Wang et al. 2023, "Self-Instruct: Aligning Language Models with Self-Generated Instructions". A prompt shows 6 of
    the seeds and 2 of the instructions that were generated before, and asks for more; what passes the filters is kept.
    Of each the model then says whether it is classification, and writes instances: input and output, or the label and
    then an input that has it, so that not all inputs have the likeliest label.

    The folder gets `train.jsonl` (the rows), `instructions.jsonl`, `rejected.jsonl` (what was dropped, with the
    reason), `report.json`, and `answers.jsonl`, to which every answer is appended as it comes: the same call goes on
    where a killed one stopped, and asks for no answer that is there. A larger target goes on, too, and ends with the
    instructions that it would have ended with from the start.

    Args:
        sampler: a sampler of `genrlhf.sampling`, or a function of a list of prompts that returns a text for each.
        seeds: the seed tasks: a file, a dataset, or rows with an `instruction` and, where they have them, `id`,
            `is_classification` and `instances` (or `input` and `output`).
        output_dir: the folder of the run.
        config: the settings.
        unlike: instructions, or rows that have some, which none kept may be like: those of evaluation sets.
        model: what tells the model from others; by default what the sampler says of itself.
        report: gets the progress after every answer.
        settings: fields of `SelfInstructConfig` that replace those of `config`.

    Raises:
        ConfigError: a setting out of its range, or one that does not exist.
        DataError: seeds that cannot be used, or fewer than a prompt shows.
        ModelError: the sampler returns something else than was asked for, or nothing that it wrote was kept.
        RunFolderError: the folder holds another run, or another process works there.

    Example:
        A function that answers from a list stands for the model:

        >>> import tempfile
        >>> said = iter(["1. Name a river that runs north.", "No.", "Input: none\nOutput: The Nile."])
        >>> made = self_instruct(
        ...     lambda prompts: [next(said) for _ in prompts],
        ...     [{"instruction": "Name a bird that cannot fly."}],
        ...     tempfile.mkdtemp(),
        ...     target=1, chat=True, seeds_in_context=1, requests_per_round=1,
        ... )
        >>> made.rows[0]["instruction"], made.rows[0]["completion"]
        ('Name a river that runs north.', ' The Nile.')
    """
    config = _with(config or SelfInstructConfig(), settings)
    drawn = as_sampler(sampler)
    tasks, avoided = read_seeds(seeds), read_instructions(unlike)
    if len(tasks) < max(1, config.seeds_in_context):
        raise DataError(
            f"There are {len(tasks)} seed tasks, and a prompt shows {config.seeds_in_context} "
            "(seeds_in_context); give more, or show fewer."
        )
    folder = Path(output_dir).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ANSWERS, remedy="wait for it, or choose another folder"):
        claim_file(
            folder / "settings.json",
            {
                "kind": "self-instruct",
                "wording": WORDING,
                "model": _model_of(sampler) if model is None else dict(model),
                "seeds": digest(f"{len(tasks)} tasks", map(asdict, tasks)),
                "unlike": digest(f"{len(avoided)} instructions", avoided),
                **config.of_the_run(),
            },
            place=folder,
            act="generate instructions",
            remedy="Choose another folder, or use the same settings.",
        )
        log = AnswerLog(folder / ANSWERS)
        log.open()
        return _run(Steps(tasks, avoided, config, log, drawn, report), folder)


def _with(config: SelfInstructConfig, settings: Mapping[str, Any]) -> SelfInstructConfig:
    known = [each.name for each in fields(SelfInstructConfig)]
    if unknown := [name for name in settings if name not in known]:
        raise ConfigError(f"There is no setting {unknown[0]!r}; give one of {', '.join(known)}.")
    return replace(config, **settings)


def _model_of(sampler: Any) -> dict[str, Any]:
    """Return what a sampler says of itself."""
    if isinstance(sampler, HasSettings):
        return dict(sampler.settings())
    model = getattr(sampler, "model", None)
    name = model if isinstance(model, str) else getattr(getattr(model, "config", None), "_name_or_path", None)
    kind = type(sampler).__qualname__ if isinstance(sampler, Sampler) else getattr(sampler, "__qualname__", "")
    return {"sampler": kind, "model": name, "extra_body": getattr(sampler, "extra_body", None)}


def _run(steps: Steps, folder: Path) -> SelfInstructResult:
    kept = steps.instructions()
    kinds = steps.kinds(kept)
    instances = steps.instances(kept, kinds)
    instructions = [
        {**asdict(each), "is_classification": kind, "instances": len(found)}
        for each, kind, found in zip(kept, kinds, instances, strict=True)
    ]
    rows = [
        _row(each, bool(kind), instance, steps.config.row_format)
        for each, kind, found in zip(kept, kinds, instances, strict=True)
        for instance in found
    ]
    found = _report(steps, kept, kinds, instances)
    write_rows(rows, folder / "train.jsonl")
    write_rows(instructions, folder / "instructions.jsonl")
    write_rows(steps.rejected, folder / "rejected.jsonl")
    with replacing(folder / "report.json") as partial:
        partial.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if not kept:
        raise ModelError(
            f"{steps.stopped}. {folder / 'rejected.jsonl'} has what the model wrote, each with the reason; ask another "
            "model, or loosen the filters."
        )
    stopped = steps.stopped and f"{steps.stopped}. What was kept is in {folder}; a higher patience goes on."
    if stopped:
        logger.warning("%s", stopped)
    return SelfInstructResult(rows, instructions, found, folder, stopped, steps.log.asked)


def _row(task: Generated, is_classification: bool, instance: Instance, row_format: str) -> dict[str, Any]:
    whole = f"{task.instruction}\n\n{instance.input}" if instance.input else task.instruction
    prompt: Any
    completion: Any
    if row_format == "messages":
        prompt = [{"role": "user", "content": whole}]
        completion = [{"role": "assistant", "content": instance.output}]
    else:
        prompt = alpaca_prompt(task.instruction, instance.input) if row_format == "alpaca" else f"{whole}\n\n"
        completion = as_completion(instance.output) if row_format == "alpaca" else instance.output
    return {
        "prompt": prompt,
        "completion": completion,
        "instruction": task.instruction,
        "input": instance.input,
        "is_classification": is_classification,
        "id": task.id,
        "seed_ids": task.seed_ids,
    }


def _report(
    steps: Steps, kept: Sequence[Generated], kinds: Sequence[bool | None], instances: Sequence[Sequence[Instance]]
) -> dict[str, Any]:
    counts = Counter(kinds)
    return {
        "target": steps.config.target,
        "seeds": len(steps.seeds),
        "stopped": steps.stopped,
        "instructions": {
            **steps.tallies["instructions"].to_dict(INSTRUCTION_FILTERS),
            "used": len(kept),
            "mean_rouge_l_to_nearest": fmean(each.rouge_l for each in kept) if kept else None,
        },
        "classification": {
            **steps.tallies["classification"].to_dict({}),
            "yes": counts[True],
            "no": counts[False],
        },
        "instances": {
            **steps.tallies["instances"].to_dict(INSTANCE_FILTERS),
            "instructions_with_some": sum(map(bool, instances)),
        },
    }
