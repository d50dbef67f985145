"""Instruction following as in AlpacaFarm, with AlpacaEval and Sequential Instructions out of distribution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from genrlhf.data.sources import Source, source_name
from genrlhf.data.splits import split_rows
from genrlhf.data.task import Task
from genrlhf.data.tasks.alpaca_farm_rows import (
    ALPACA_EVAL,
    HUB_SETS,
    HUB_SOURCE,
    ID_TEST,
    PAIR_COLUMNS,
    SEQUENTIAL,
    inputs_of,
    maps_by_set,
    read_evaluation,
    read_pairs,
    read_parts,
)
from genrlhf.data.tasks.instructions import INSTRUCTION_COLUMNS, instruction_key, short_prompts
from genrlhf.data.tasks.rows import check_map, check_sizes, distinct, named_rows, size_of, tenth, without
from genrlhf.data.tasks.task_info import TaskInfo

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["TASK", "load_alpaca_farm"]


def load_alpaca_farm(
    source: Source = HUB_SOURCE,
    *,
    columns: Mapping[str, str] | None = None,
    preferences: Source | None = None,
    preference_columns: Mapping[str, str] | None = None,
    id_test: Source | None = None,
    alpaca_eval: Source | None = None,
    sequential_instructions: Source | None = None,
    evaluation_columns: Mapping[str, Mapping[str, str]] | None = None,
    chat: bool = False,
    prompts: Literal["unlabeled", "preference", "sft"] = "unlabeled",
    max_prompt_tokens: int | None = None,
    tokenizer: Any = None,
    n_train: int | float | None = None,
    n_prompts: int | None = None,
    n_validation: int | None = None,
    n_evaluation: int | None = None,
    seed: int = 0,
) -> Task:
    """Load instruction following as in AlpacaFarm (Dubois et al. 2023), or data of its shape.

    SFT is on `sft`, RL on the instructions of `unlabeled`, validation on `val`. Rows have `instruction`, `input` (may
    be empty) and `output`; further columns are kept. Prompts have Alpaca's format (`alpaca_prompt`), and a completion
    is the output as it is. Rows without an output are left out, and ties of preferences; so are rows whose instruction
    and input are, by their words, those of an evaluation set: warnings say how many.

    The evaluation sets are "id" (by default a tenth of the rows of `sft`, which are then not trained on) and, where
    they are given, "alpaca_eval" and "sequential_instructions". From the hub all three are read, "id" being the test
    set that Kirk et al. (2024, arXiv 2310.06452) generated. There an instruction has its input inside, and goes into
    the format without one; rows of yours with a column `input` go into that with one.

    Args:
        source: the name of the hub dataset, a folder in its layout (`alpaca_instructions/sft.json`, …, or `sft.json`
            and the others themselves), a mapping of these splits to datasets, or one file or dataset, which is all
            `sft` unless its column `split` says otherwise.
        columns: what columns are called there, such as `{"output": "answer"}`.
        preferences: "alpaca_human_preference", "alpaca_noisy_multi_preference" or "alpaca_gpt4_preference" of the
            source; or rows of `instruction`, `input`, `output_1`, `output_2`, `preference` (1 or 2); or of `prompt`,
            `chosen`, `rejected`, the prompt as it is, with `preference_columns={"instruction": "prompt"}` in Alpaca's
            format. By default those of people, where the source is the hub's or a folder that has them.
        preference_columns: what columns are called there.
        id_test: rows of `instruction` and `output` (or `reference`).
        alpaca_eval: the like; a folder has `alpaca_eval.json`.
        sequential_instructions: the like.
        evaluation_columns: what columns are called in these three, by the name of the set.
        chat: prompts and completions as conversations of one turn each, without Alpaca's words.
        prompts: the split of which the inputs for RL are.
        max_prompt_tokens: longer inputs for RL are left out; 192 in AlpacaFarm.
        tokenizer: what they are counted with, a tokenizer or the name or folder of one.
        n_train: number of demonstrations, or a share of them; all by default. Fewer are always a part of more.
        n_prompts: number of inputs for RL.
        n_validation: number of validation demonstrations, and at most so many validation pairs.
        n_evaluation: number of prompts in every evaluation set.
        seed: of the choice of rows.

    Raises:
        ConfigError: a number below 1, an unknown name in a map of columns, or a limit of tokens without a tokenizer.
        DataError: a source that cannot be read, a missing column, an empty instruction, or too few rows.
    """
    sizes = {"n_train": n_train, "n_prompts": n_prompts, "n_validation": n_validation, "n_evaluation": n_evaluation}
    check_sizes("load_alpaca_farm", sizes, shares=("n_train",))
    check_map(columns, (*INSTRUCTION_COLUMNS, "output", "prompt", "completion", "split"), "columns")
    known = (*INSTRUCTION_COLUMNS, *PAIR_COLUMNS, "prompt", "chosen", "rejected")
    check_map(preference_columns, known, "preference_columns")
    sets = maps_by_set(evaluation_columns)
    name = source_name(source)
    parts = read_parts(source, columns, chat)
    given = {"id": id_test, "alpaca_eval": alpaca_eval, "sequential_instructions": sequential_instructions}
    if source == HUB_SOURCE:
        given = {shift: HUB_SETS[shift] if own is None else own for shift, own in given.items()}
    pools = {
        shift: named_rows(read_evaluation(own, sets.get(shift), chat), shift)
        for shift, own in given.items()
        if own is not None
    }
    leaks = "id" in pools
    if not leaks:
        made = split_rows(
            distinct(parts["sft"]), {"id": n_evaluation or tenth(parts["sft"])}, seed=seed, by="prompt", source=name
        )
        pools = {"id": named_rows(inputs_of(made["id"]), "alpaca_farm"), **pools}
    held = {instruction_key(prompt) for pool in pools.values() for prompt in pool["prompt"][:]}
    train = without(parts["sft"], held, key=instruction_key, told=f"{name} (sft)" if leaks else None)
    if "val" in parts:
        validation = without(parts["val"], held, key=instruction_key, told=f"{name} (val)")
    else:
        at_most = n_validation or tenth(train)
        validation = split_rows(distinct(train), {"validation": at_most}, seed=seed, by="prompt", source=name)[
            "validation"
        ]
    closed = held | {instruction_key(prompt) for prompt in validation["prompt"][:]}
    told = f"{name} (sft)" if "val" in parts else None
    train = without(train, closed, key=instruction_key, told=told)

    def take(dataset: Dataset, n: int | float | None, what: str) -> Dataset:
        count = size_of(n, len(dataset))
        return split_rows(dataset, {what: count}, seed=seed, source=f"{name} ({what})")[what]

    demonstrations = take(train, n_train, "sft")
    inputs = parts[prompts] if prompts != "sft" and prompts in parts else demonstrations
    inputs = distinct(without(inputs, closed, key=instruction_key, told=f"{name} ({prompts})"))
    inputs = short_prompts(inputs_of(inputs), max_prompt_tokens, tokenizer, source=f"{name} ({prompts})")
    pairs = read_pairs(preferences, preference_columns, source, closed, chat, n_validation, seed)
    return Task(
        name="alpaca_farm",
        demonstrations=demonstrations,
        prompts=take(inputs, n_prompts, prompts),
        evaluation={shift: take(distinct(pool), n_evaluation, shift) for shift, pool in pools.items()},
        preferences=pairs.get("train"),
        validation={
            "demonstrations": take(validation, n_validation, "val"),
            **({"preferences": pairs["validation"]} if pairs else {}),
        },
    )


TASK = TaskInfo(
    name="alpaca_farm",
    about="instruction following (Dubois et al. 2023), or instructions of your own in its shape",
    load=load_alpaca_farm,
    sets=("id", "alpaca_eval", "sequential_instructions"),
    needs=f"{HUB_SOURCE}, {ID_TEST}, {ALPACA_EVAL} and {SEQUENTIAL} from the hub, or files and folders of their shape",
    prompt="Alpaca's, with and without an input, ending in '### Response:'; chat=True: one turn of the user",
    filters="rows without an output, ties, and rows whose instruction is evaluated are left out; "
    "max_prompt_tokens=192 with a tokenizer: long inputs for RL",
)
