"""Prompts of instructions, with and without an input, and what makes two of them the same instruction."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from genrlhf.data.schema import check_columns, check_text
from genrlhf.data.tasks.rows import prompt_key, where, with_columns
from genrlhf.errors import ConfigError, DataError, excerpt

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = [
    "INSTRUCTION_COLUMNS",
    "alpaca_prompt",
    "completions_of",
    "evaluation_rows",
    "instruction_key",
    "instruction_prompts",
    "short_prompts",
    "token_counter",
    "with_output",
]

INSTRUCTION_COLUMNS = ("instruction", "input")
_NO_INPUT = ("", "noinput", "<noinput>")
_WITH = (
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
    "response that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n"
    "### Response:"
)
_WITHOUT = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:"
)
_PARTS = re.compile(r"### Instruction:\n(.*)\n\n### Response:\s*\Z", re.DOTALL)

logger = logging.getLogger("genrlhf.data.tasks.alpaca_farm")


def alpaca_prompt(instruction: str, input: str = "") -> str:
    r"""Write the prompt of an instruction in Alpaca's format (Taori et al. 2023); nothing follows the last colon.

    Args:
        instruction: any text.
        input: what it is about; none for "", "NoInput" and "<noinput>".

    Example:
        >>> alpaca_prompt("Name a bird.").split("\n\n")[1:]
        ['### Instruction:\nName a bird.', '### Response:']
        >>> alpaca_prompt("Translate.", "cat").split("\n\n")[1:]
        ['### Instruction:\nTranslate.', '### Input:\ncat', '### Response:']
    """
    if _is_input(input):
        return _WITH.format(instruction=instruction.strip(), input=input.strip())
    return _WITHOUT.format(instruction=instruction.strip())


def _is_input(text: Any) -> TypeGuard[str]:
    return isinstance(text, str) and text.strip().lower() not in _NO_INPUT


def instruction_key(prompt: Any) -> str:
    r"""Return what makes two prompts the same instruction: its words and its input's, in whatever format they stand.

    Example:
        >>> merged = alpaca_prompt("Translate.\n\n### Input:\ncat")
        >>> instruction_key(merged) == instruction_key(alpaca_prompt("Translate.", "cat")) == "Translate. cat"
        True
    """
    if not isinstance(prompt, str):
        text = "\n\n".join(str(turn["content"]) for turn in prompt if turn["role"] == "user")
    else:
        found = _PARTS.search(prompt)
        text = found[1] if found else prompt
    return prompt_key(text.replace("### Input:", " "))


def instruction_prompts(dataset: Dataset, *, source: str, chat: bool) -> list[Any]:
    """Return the prompts of rows: those they have, or those of their instructions and inputs.

    Args:
        dataset: rows with `prompt`, or with `instruction` and maybe `input`.
        source: what it is called in messages.
        chat: as conversations; the input follows the instruction after an empty line.

    Raises:
        DataError: a missing column, or an empty instruction.
    """
    there = dataset.column_names
    if "prompt" in there and "instruction" not in there:
        prompts = dataset["prompt"][:]
        for number, prompt in enumerate(prompts):
            check_text(prompt, f"{source}, row {number}, column 'prompt'")
        return [_as_user(p) if chat and isinstance(p, str) else p for p in prompts]
    check_columns(there, ["instruction"], source=source)
    inputs = dataset["input"][:] if "input" in there else [""] * len(dataset)
    prompts = []
    for number, (instruction, given) in enumerate(zip(dataset["instruction"][:], inputs, strict=True)):
        place = f"{source}, row {number}, column"
        check_text(instruction, f"{place} 'instruction'")
        if not isinstance(instruction, str) or not (given is None or isinstance(given, str)):
            raise DataError(f"{place} 'instruction' or 'input' is {excerpt([instruction, given])}; give strings.")
        if chat:
            merged = [instruction.strip(), *([given.strip()] if _is_input(given) else [])]
            prompts.append(_as_user("\n\n".join(merged)))
        else:
            prompts.append(alpaca_prompt(instruction, given or ""))
    return prompts


def _as_user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def completions_of(texts: Sequence[str], *, chat: bool) -> list[Any]:
    """Return completions as they are, or as the assistant's turns."""
    return [[{"role": "assistant", "content": text}] for text in texts] if chat else list(texts)


def with_output(dataset: Dataset, columns: Sequence[str], *, source: str) -> Dataset:
    """Return the rows in which none of `columns` is empty; a warning says how many are left out.

    Alpaca's own data has a few answers that are empty: there is nothing to learn from them.

    Raises:
        DataError: a missing column, a value that is no text, or no row that is left.
    """
    if not len(dataset):
        raise DataError(f"{source} is empty; give at least one row.")
    check_columns(dataset.column_names, columns, source=source)
    kept = [True] * len(dataset)
    for column in columns:
        for number, text in enumerate(dataset[column][:]):
            if not (text is None or isinstance(text, str)):
                check_text(text, f"{source}, row {number}, column {column!r}")
            kept[number] = kept[number] and bool(text) and (not isinstance(text, str) or bool(text.strip()))
    if not any(kept):
        raise DataError(f"{source} has no row with a text in {' and '.join(map(repr, columns))}; fill them in.")
    if not all(kept):
        logger.warning("%s: %d of %d rows are left out, which have no answer.", source, kept.count(False), len(kept))
    return where(dataset, kept)


def token_counter(tokenizer: Any) -> Callable[[Any], int]:
    """Return what counts the tokens of a prompt: of a tokenizer, or of the name or folder of one."""
    if isinstance(tokenizer, str):
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(tokenizer, trust_remote_code=False)

    def count(prompt: Any) -> int:
        if isinstance(prompt, str):
            return len(tokenizer(prompt)["input_ids"])
        return len(tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"])

    return count


def short_prompts(dataset: Dataset, max_tokens: int | None, tokenizer: Any, *, source: str) -> Dataset:
    """Return the rows whose prompt has at most `max_tokens` tokens; a warning says how many are left out.

    Raises:
        ConfigError: a limit without a tokenizer.
        DataError: no prompt is short enough.
    """
    if max_tokens is None:
        return dataset
    if tokenizer is None:
        raise ConfigError(
            f"max_prompt_tokens is {max_tokens}, and there is no tokenizer to count with; give tokenizer."
        )
    count = token_counter(tokenizer)
    kept = [count(prompt) <= max_tokens for prompt in dataset["prompt"][:]]
    if not any(kept):
        raise DataError(f"no prompt of {source} has at most {max_tokens} tokens; raise max_prompt_tokens.")
    if not all(kept):
        logger.warning(
            "%s: %d of %d prompts are left out, of more than %d tokens.",
            source,
            kept.count(False),
            len(kept),
            max_tokens,
        )
    return where(dataset, kept)


def evaluation_rows(dataset: Dataset, *, source: str, chat: bool) -> Dataset:
    """Return rows of instructions as an evaluation set: `prompt`, `reference` where they have one, and further columns.

    The reference is `reference` or `output`; that of AlpacaEval is empty in places, and stays so.
    """
    if not len(dataset):
        raise DataError(f"{source} is empty; give at least one row.")
    made: dict[str, list[Any]] = {"prompt": instruction_prompts(dataset, source=source, chat=chat)}
    answer = next((name for name in ("reference", "output", "completion") if name in dataset.column_names), None)
    if answer is not None:
        texts = dataset[answer][:]
        for number, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError(f"{source}, row {number}, column {answer!r} is {excerpt(text)}; give a string.")
        made["reference"] = texts
    return with_columns(dataset, made, drop=[answer] if answer else [])
