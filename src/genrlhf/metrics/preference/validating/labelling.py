"""Pairs of outputs for people to label: drawn, blinded and shown on one page that needs no network."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any, Literal

from genrlhf.errors import ConfigError, DataError, excerpt
from genrlhf.metrics.checks import whole_characters
from genrlhf.metrics.preference.counting.winrate import shown_swapped
from genrlhf.pages import fill_page, script_json

__all__ = ["LabelItem", "check_pair", "draw_pairs", "key_rows", "labelling_page", "page_id"]

_COLUMNS = ("instruction", "output_1", "generator_1", "output_2", "generator_2")

# Generator and output of the first model, then of the second.
_Pair = tuple[str, str, str, str]


@dataclass(frozen=True)
class LabelItem:
    """A pair of outputs as it is shown, and what is hidden.

    Attributes:
        item: its name on the page, from what is shown and the test set alone: 16 hexadecimal digits.
        dataset: the test set.
        instruction: the prompt.
        generator_a: what wrote output A.
        output_a: the output shown as A.
        generator_b: what wrote output B.
        output_b: the output shown as B.
        first: which of the two the annotation row has first.
    """

    item: str
    dataset: str
    instruction: str
    generator_a: str
    output_a: str
    generator_b: str
    output_b: str
    first: Literal["a", "b"]


def draw_pairs(
    rows_by_set: Mapping[str, Iterable[Mapping[str, Any]]], *, per_set: int = 25, seed: int = 0
) -> list[LabelItem]:
    """Draw inputs of every test set, and return the pairs of outputs to be labelled, in the order to be shown.

    Kirk et al. 2024, "Understanding the Effects of RLHF on LLM Generalisation and Diversity", appendix D, validate
    their judge on 25 inputs of every test set.

    Every draw is a hash of the seed and of what is drawn. So neither the order of the rows nor other rows matter, and a
    larger `per_set` keeps the inputs of a smaller one. Which output is A depends on the texts alone, and tells nothing
    about the models. All pairs of models of an input are taken, each once, however many judges compared them, and in
    either order; of several outputs of a pair of models for one input, one pair is drawn.

    Args:
        rows_by_set: by test set, annotation rows with `instruction`, `output_1`, `generator_1`, `output_2` and
            `generator_2`; other columns are passed over.
        per_set: how many inputs of every test set.
        seed: of all draws.

    Raises:
        ConfigError: `per_set` is below 1.
        DataError: a row is no pair of outputs, or a test set has too few inputs.

    Example:
        >>> row = {"instruction": "Hi", "output_1": "a", "generator_1": "old", "output_2": "b", "generator_2": "new"}
        >>> [item] = draw_pairs({"greetings": [row]}, per_set=1)
        >>> {item.generator_a, item.generator_b} == {"old", "new"}
        True
    """
    if per_set < 1:
        raise ConfigError(f"per_set is {per_set}; draw at least 1 input of every test set.")
    if not rows_by_set:
        raise DataError("There are no test sets; give the annotations of at least one.")
    items: list[LabelItem] = []
    for dataset, rows in rows_by_set.items():
        inputs = _by_input(dataset, rows)
        if len(inputs) < per_set:
            raise DataError(
                f"The test set {dataset!r} has {len(inputs)} inputs, and {per_set} are to be drawn; lower per_set "
                f"(--per-set {len(inputs)}), or give more annotations."
                if inputs
                else f"The test set {dataset!r} has no rows; leave it out, or give its annotations."
            )
        drawn = sorted(inputs, key=lambda instruction: _digest(seed, "input", dataset, instruction))[:per_set]
        for instruction in drawn:
            items += _items(dataset, instruction, inputs[instruction], seed)
    return sorted(items, key=lambda item: _digest(seed, "order", item.item))


def check_pair(row: Mapping[str, Any], where: str) -> None:
    """Raise `DataError` where an annotation row is no pair of two models' outputs.

    Args:
        row: the row.
        where: its place, for the message.
    """
    for name in _COLUMNS:
        if not isinstance(row.get(name), str):
            found = f"has {excerpt(row[name])} for {name!r}" if name in row else f"has no {name!r}"
            raise DataError(f"{where} {found}; a row to be labelled needs text for {', '.join(_COLUMNS)}.")
    if row["generator_1"] == row["generator_2"]:
        raise DataError(f"{where} compares {row['generator_1']!r} with itself; drop the row.")


def page_id(items: Sequence[LabelItem]) -> str:
    """Return the name of the page of these items, which its labels carry: 16 hexadecimal digits."""
    return _digest("page", *(item.item for item in items))[:16]


def key_rows(items: Sequence[LabelItem]) -> list[dict[str, Any]]:
    """Return what tells which model wrote what: for every item a row with its fields and `page`.

    It is for `read_labels`, and not for those who label.
    """
    page = page_id(items)
    return [{"page": page, **asdict(item)} for item in items]


def labelling_page(items: Sequence[LabelItem], title: str = "Which output is better?") -> str:
    """Return the page on which people label the items: one HTML file, to be opened from a disk.

    It holds what is shown, and neither generators nor test sets. A browser that keeps to its policy runs the page's own
    script only, loads nothing and connects to nothing; texts are shown as they are, whatever they hold.

    Args:
        items: what `draw_pairs` returns.
        title: the heading.

    Raises:
        DataError: there are no items.
    """
    if not items:
        raise DataError("There are no pairs to label; draw at least one.")
    template = resources.files(__package__).joinpath("labelling.html").read_text(encoding="utf-8")
    shown = [{"item": item.item, "prompt": item.instruction, "a": item.output_a, "b": item.output_b} for item in items]
    data = script_json({"page": page_id(items), "items": shown})
    return fill_page(template, {"title": html.escape(whole_characters(title)), "data": data})


def _by_input(dataset: str, rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[frozenset[str], set[_Pair]]]:
    """Return, by instruction and pair of generators, the pairs of outputs as they are in the rows."""
    inputs: dict[str, dict[frozenset[str], set[_Pair]]] = {}
    for number, row in enumerate(rows):
        check_pair(row, f"The test set {dataset!r}, row {number}")
        pair = (row["generator_1"], row["output_1"], row["generator_2"], row["output_2"])
        inputs.setdefault(row["instruction"], {}).setdefault(frozenset((pair[0], pair[2])), set()).add(pair)
    return inputs


def _items(dataset: str, instruction: str, pairs: Mapping[frozenset[str], set[_Pair]], seed: int) -> list[LabelItem]:
    """Return the items of one input, one for every pair of generators."""
    items = []
    same: dict[tuple[str, str], int] = {}
    for models in sorted(pairs, key=sorted):
        # A pair that the rows have both ways round counts once, the way that sorts first.
        both = pairs[models]
        found = [pair for pair in both if _turned(pair) not in both or pair < _turned(pair)]
        one = min(found, key=lambda pair: _digest(seed, "pair", dataset, instruction, *pair))
        swap = shown_swapped(seed, instruction, one[1], one[3])
        generator_a, output_a, generator_b, output_b = _turned(one) if swap else one
        # Pairs of other models may have the same texts.
        copy = same[output_a, output_b] = same.get((output_a, output_b), -1) + 1
        items.append(
            LabelItem(
                item=_digest("item", dataset, instruction, output_a, output_b, copy)[:16],
                dataset=dataset,
                instruction=instruction,
                generator_a=generator_a,
                output_a=output_a,
                generator_b=generator_b,
                output_b=output_b,
                first="b" if swap else "a",
            )
        )
    return items


def _turned(pair: _Pair) -> _Pair:
    return (*pair[2:], *pair[:2])


def _digest(*parts: str | int) -> str:
    digest = hashlib.sha256()
    for part in parts:
        # Half of a surrogate pair, which a model may write, has no UTF-8 form.
        encoded = str(part).encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()
