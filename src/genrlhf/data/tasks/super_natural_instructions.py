"""Super-NaturalInstructions: many tasks, each with a definition and examples, of which some are never trained on."""

from __future__ import annotations

import difflib
import logging
import string
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from genrlhf.data.rater import rouge_l
from genrlhf.data.sources import Source, source_name
from genrlhf.data.splits import split_rows
from genrlhf.data.task import Task
from genrlhf.data.tasks.instructions import token_counter
from genrlhf.data.tasks.natural_instructions_rows import HUB_SOURCE, KNOWN, Instance, read_instances
from genrlhf.data.tasks.rows import as_inputs, check_map, check_sizes, distinct, prompt_keys, size_of, tenth, without
from genrlhf.data.tasks.task_info import TaskInfo
from genrlhf.errors import ConfigError, DataError

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["TASK", "accepted_rouge_l", "definition_prompt", "load_super_natural_instructions"]

logger = logging.getLogger(__name__)


def definition_prompt(
    definition: str, examples: Sequence[Mapping[str, str]], input: str, *, explanations: bool = False
) -> str:
    r"""Write a prompt as Tk-Instruct does (Wang et al. 2022, arXiv 2204.07705): definition, positive examples, input.

    Texts that do not end in punctuation get a full stop. The prompt ends in a blank, so a completion begins without
    one.

    Args:
        definition: of the task.
        examples: with `input`, `output` and maybe `explanation`.
        input: of the instance.
        explanations: write those of the examples.

    Example:
        >>> definition_prompt("Add", [{"input": "1, 2", "output": "3"}], "2, 2").splitlines()[2:4]
        [' Positive Example 1 -', 'Input: 1, 2.']
    """
    parts = [f"Definition: {_stopped(definition)}\n\n"]
    for number, example in enumerate(examples, start=1):
        parts.append(f" Positive Example {number} -\nInput: {_stopped(example['input'])}\n")
        parts.append(f" Output: {_stopped(example['output'])}\n")
        if explanations and example.get("explanation"):
            parts.append(f" Explanation: {_stopped(example['explanation'])}\n")
        parts.append("\n")
    return "".join([*parts, f"Now complete the following example -\nInput: {_stopped(input)}\nOutput: "])


def _stopped(text: str) -> str:
    text = text.strip()
    return text if text and text[-1] in string.punctuation else f"{text}."


def accepted_rouge_l(
    prompts: Sequence[str], completions: Sequence[str], outputs: Sequence[Sequence[str]]
) -> list[float]:
    """Return the ROUGE-L of each completion with the nearest of its accepted outputs: a reward, and the task's score.

    Example:
        >>> accepted_rouge_l([""], ["a red bird"], [["a bird", "a red bird"]])
        [1.0]
    """
    return [
        max(rouge_l(completion, accepted) for accepted in texts)
        for completion, texts in zip(completions, outputs, strict=True)
    ]


def load_super_natural_instructions(
    source: Source = HUB_SOURCE,
    *,
    columns: Mapping[str, str] | None = None,
    ood_tasks: Sequence[str] = (),
    ood_categories: Sequence[str] = (),
    n_examples: int = 2,
    explanations: bool = False,
    max_instances: int | None = 100,
    max_prompt_tokens: int | None = None,
    tokenizer: Any = None,
    n_train: int | float | None = None,
    n_validation: int | None = None,
    n_evaluation: int | None = None,
    seed: int = 0,
) -> Task:
    """Load Super-NaturalInstructions (Wang et al. 2022, arXiv 2204.07705): generalisation to tasks that were not seen.

    "id" has new instances of the tasks that are trained on (the source's test rows of them, or a tenth of their rows),
    "ood" the instances of tasks that are not. With `ood_categories` and `ood_tasks`, "ood" has the tasks of these
    categories and "unseen_tasks" the others. Tasks that share a source with one that is held out are not trained on,
    and prompts that are evaluated are left out of training; warnings say how many. The completion is the first accepted
    output; all are in the column `outputs`, which `accepted_rouge_l` reads as a reward.

    Args:
        source: a folder in the layout of allenai/natural-instructions (`tasks/*.json`, `splits/default/*.txt`), the
            name of the hub dataset, or rows with `task`, `definition`, `input`, `outputs` (or one text) and maybe
            `category`, `source`, `positive_examples`, `split`; the hub's `task_name`, `inputs`, `targets` are
            understood.
        columns: what columns are called there.
        ood_tasks: the tasks that are not trained on; by default those of `test_tasks.txt`, or of the source's test
            rows, which have no row to train on.
        ood_categories: categories, all of whose tasks are not trained on.
        n_examples: positive examples in a prompt, where the source has them.
        explanations: write those of the examples.
        max_instances: the first so many of every task are used, to train and to evaluate each; None for all.
        max_prompt_tokens: examples are left out from the end until a prompt fits, and prompts that never do; 1,024 in
            Tk-Instruct.
        tokenizer: what they are counted with, a tokenizer or the name or folder of one.
        n_train: number of demonstrations, or a share of them; all by default. Fewer are always a part of more.
        n_validation: number of validation demonstrations.
        n_evaluation: number of prompts in every evaluation set.
        seed: of the choice of rows.

    Raises:
        ConfigError: a number below 1, or a limit of tokens without a tokenizer.
        DataError: a source that cannot be read, a missing or empty column, a task or category that there is not, or too
            few rows.
    """
    sizes = {"n_train": n_train, "n_validation": n_validation, "n_evaluation": n_evaluation}
    check_sizes("load_super_natural_instructions", {**sizes, "max_instances": max_instances}, shares=("n_train",))
    check_map(columns, KNOWN, "columns")
    if n_examples < 0:
        raise ConfigError(f"n_examples is {n_examples}; give 0 or more.")
    if max_prompt_tokens is not None and tokenizer is None:
        raise ConfigError(
            f"max_prompt_tokens is {max_prompt_tokens}, without a tokenizer to count with; give tokenizer."
        )
    name = source_name(source)
    instances = read_instances(source, columns)
    pools = _pools(instances, list(ood_tasks), list(ood_categories), max_instances, name)
    count = None if max_prompt_tokens is None else token_counter(tokenizer)
    rows: dict[str, Dataset] = {}
    for part, pool in pools.items():
        rows[part] = _rows(pool, n_examples, explanations, (count, max_prompt_tokens), f"{name} ({part})")
    train = rows.pop("train")
    if "id" not in rows:
        made = split_rows(distinct(train), {"id": n_evaluation or tenth(train)}, seed=seed, by="prompt", source=name)
        rows = {"id": made["id"], **rows}
        train = without(train, prompt_keys(rows["id"]["prompt"][:]))
    held = prompt_keys(prompt for pool in rows.values() for prompt in pool["prompt"][:])
    train = without(train, held, told=f"{name} (train)")
    size = n_validation or tenth(train)
    validation = split_rows(distinct(train), {"validation": size}, seed=seed, by="prompt", source=name)["validation"]
    train = without(train, prompt_keys(validation["prompt"][:]))
    demonstrations = split_rows(train, {"train": size_of(n_train, len(train))}, seed=seed, source=f"{name} (train)")[
        "train"
    ]
    return Task(
        name="super_natural_instructions",
        demonstrations=demonstrations,
        prompts=as_inputs(distinct(demonstrations)),
        evaluation={
            shift: as_inputs(
                split_rows(distinct(pool), {shift: n_evaluation}, seed=seed, source=f"{name} ({shift})")[shift]
            )
            for shift, pool in rows.items()
        },
        validation={"demonstrations": validation},
    )


def _pools(
    instances: list[Instance], ood_tasks: list[str], ood_categories: list[str], limit: int | None, name: str
) -> dict[str, list[Instance]]:
    """Return the instances to train on as "train", and those of every evaluation set."""
    _known(ood_tasks, {i.task for i in instances}, "task", name)
    _known(ood_categories, {i.category for i in instances if i.category}, "category", name)
    if not ood_tasks and not ood_categories:
        ood_tasks = sorted(
            {i.task for i in instances if i.split == "test"} - {i.task for i in instances if i.split == "train"}
        )
    far = {i.task for i in instances if i.category in ood_categories}
    near = set(ood_tasks) - far
    unseen = far | near
    sources = {source for i in instances if i.task in unseen for source in i.sources}
    shared = {i.task for i in instances if i.task not in unseen and sources & set(i.sources)}
    if shared:
        logger.warning(
            "%s: %d tasks are not trained on, which share a source with a task that is held out.", name, len(shared)
        )
    seen = [i for i in instances if i.task not in unseen | shared]
    if not any(i.split == "train" for i in seen):
        raise DataError(f"{name} has no task left to train on; hold fewer out.")
    pools = {
        "train": _first([i for i in seen if i.split == "train"], limit),
        "id": _first([i for i in seen if i.split == "test"], limit),
        "ood": _first([i for i in instances if i.task in (far or near)], limit),
        "unseen_tasks": _first([i for i in instances if far and i.task in near], limit),
    }
    return {part: pool for part, pool in pools.items() if pool}


def _known(wanted: list[str], there: set[str], what: str, name: str) -> None:
    for one in wanted:
        if one not in there:
            close = difflib.get_close_matches(str(one), there, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            some = ", ".join(map(repr, sorted(there)[:10])) or "none"
            raise DataError(f"{name} has no {what} {one!r}; {hint}It has {some}{' …' if len(there) > 10 else ''}.")


def _first(instances: list[Instance], limit: int | None) -> list[Instance]:
    taken: dict[str, int] = {}
    kept = []
    for instance in instances:
        taken[instance.task] = taken.get(instance.task, 0) + 1
        if limit is None or taken[instance.task] <= limit:
            kept.append(instance)
    return kept


def _rows(
    instances: list[Instance], n_examples: int, explanations: bool, fit: tuple[Any, int | None], name: str
) -> Dataset:
    from datasets import Dataset

    count, limit = fit
    made = []
    for one in instances:
        examples = list(one.examples[:n_examples])
        prompt = definition_prompt(one.definition, examples, one.input, explanations=explanations)
        while count is not None and limit is not None and count(prompt) > limit and examples:
            examples.pop()
            prompt = definition_prompt(one.definition, examples, one.input, explanations=explanations)
        if count is not None and limit is not None and count(prompt) > limit:
            continue
        made.append(
            {
                "prompt": prompt,
                "completion": one.outputs[0],
                "outputs": list(one.outputs),
                "task": one.task,
                "category": one.category,
                "dataset": "super_natural_instructions",
            }
        )
    if len(made) < len(instances):
        logger.warning(
            "%s: %d of %d prompts are left out, of more than %s tokens without any example.",
            name,
            len(instances) - len(made),
            len(instances),
            limit,
        )
    if not made:
        raise DataError(f"no prompt of {name} has at most {limit} tokens; raise max_prompt_tokens.")
    return Dataset.from_list(made)


TASK = TaskInfo(
    name="super_natural_instructions",
    about="tasks with a definition and examples (Wang et al. 2022); generalisation to tasks that were not seen",
    load=load_super_natural_instructions,
    sets=("id", "ood", "unseen_tasks"),
    needs=f"{HUB_SOURCE} from the hub, a clone of allenai/natural-instructions, or rows of their shape",
    prompt="Tk-Instruct's: definition, positive examples, input, ending in 'Output: '",
    filters="the first 100 instances of a task; tasks that share a source with one held out; max_prompt_tokens=1024 "
    "with a tokenizer",
)
