"""The task of questions with many right answers: its prompts, demonstrations and evaluation sets."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from genrlhf.data.task import Task
from genrlhf.data.tasks.open_ended.families import Family, Format, OpenEnded, read_open_ended
from genrlhf.data.tasks.open_ended.verifier import Verifier
from genrlhf.data.tasks.rows import check_sizes
from genrlhf.data.tasks.task_info import TaskInfo
from genrlhf.errors import ConfigError, DataError, excerpt

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["TASK", "Distribution", "load_open_ended"]

Distribution = str | Callable[[str, list[str]], Sequence[float]] | Mapping[str, Mapping[str, float]]
"""How demonstrations are spread over the answers of a family."""

_VALIDATION_SHARE = 10
_MOST_ORDERS = 5000
"""Orders of exemplars that are drawn from, of a family and format."""


def load_open_ended(
    source: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    *,
    families: Sequence[str] | None = None,
    more: Mapping[str, Any] | None = None,
    words: str | os.PathLike[str] | None = None,
    wordnet: bool = False,
    distribution: Distribution = "uniform",
    copies_count: bool = True,
    n_shots: int = 3,
    n_demonstrations: int = 2000,
    n_prompts: int = 1000,
    n_validation: int = 200,
    n_evaluation: int = 256,
    seed: int = 0,
) -> Task:
    """Load questions that ask for one member of a set ("Name a US state."), whose answers are checked by code.

    Quality is the share of right answers (`gold`, the task's reward), diversity the spread over them. Prompts show
    `n_shots` exemplars, drawn in order and without repetition: of the family's `train` exemplars in training and
    validation (never the same ones in the same order), of its `eval` ones in evaluation. Rows have `prompt`, `family`,
    `format`, `exemplars` and `dataset`. The evaluation sets are "id" (families and formats of training), "new_formats",
    "new_families", "new_both", and "controls", families with so few answers that a narrow model looks like a broad one.
    No prompt of an evaluation set is trained on: formats, families or exemplars differ.

    Args:
        source: a JSON file with `formats` and `families`, or what it holds; by default the families that come with the
            package.
        families: those that are used; all by default.
        more: further families by name, as in a file; their checker may be a function, which returns the answer that a
            text is, or None.
        words: a file of English words, one a line, for families that need one.
        wordnet: also animals, fruits, colours, birds, vegetables, musical instruments and parts of the body, whose
            answers are those of WordNet, as nltk reads it from this machine; nothing is downloaded.
        distribution: of the answers that are demonstrated. "uniform"; "skewed", by Zipf's law over an order that the
            seed draws; a function of the family's name and answers that returns their weights; or weights by family
            and answer. Answers of weight 0 are never demonstrated. Answers that cannot be listed (those of a regular
            expression) are demonstrated by the family's `train` exemplars.
        copies_count: an answer that repeats an exemplar of its prompt is right.
        n_shots: exemplars in a prompt.
        n_demonstrations: rows for SFT; a prompt may come several times, with other answers.
        n_prompts: at most so many inputs for RL, all different.
        n_validation: rows of validation demonstrations.
        n_evaluation: at most so many prompts in every evaluation set, as many of every family and format as of others.
        seed: of all that is drawn.

    Raises:
        ConfigError: a number below 1, or a distribution that is none.
        DataError: a file of another shape, a family that there is not, or too few exemplars.
    """
    sizes = {"n_shots": n_shots, "n_demonstrations": n_demonstrations, "n_prompts": n_prompts}
    check_sizes("load_open_ended", {**sizes, "n_validation": n_validation, "n_evaluation": n_evaluation})
    content = _chosen(read_open_ended(source, more=more, words=words, wordnet=wordnet), families)
    for family in content.families.values():
        _check_exemplars(family, n_shots)
    by_split: dict[str, list[Family]] = {"train": [], "held_out": [], "control": []}
    for family in content.families.values():
        by_split[family.split].append(family)
    if not by_split["train"]:
        raise DataError(
            f"None of the families {', '.join(content.families)} is of the split train; choose one that is."
        )
    seen, unseen = list(content.train_formats.values()), list(content.held_out_formats.values())
    drawn = _Drawn(n_shots, seed)
    train, validation = drawn.for_training(by_split["train"], seen)
    evaluation = {
        "id": (by_split["train"], seen),
        "new_formats": (by_split["train"], unseen),
        "new_families": (by_split["held_out"], seen),
        "new_both": (by_split["held_out"], unseen),
        "controls": (by_split["control"], seen),
    }
    sets = {
        name: [{**row, "dataset": name} for row in drawn.rows(*sides, "eval", n_evaluation, name)]
        for name, sides in evaluation.items()
        if all(sides)
    }
    prompts = train[:n_prompts]
    answers = _Answers(distribution, seed)
    demonstrated = {
        "train": answers.demonstrations(train, n_demonstrations, content, "train"),
        "validation": answers.demonstrations(validation, n_validation, content, "validation"),
    }
    known = {
        row["prompt"]: (row["family"], row["format"], tuple(row["exemplars"]))
        for rows in (train, validation, *sets.values())
        for row in rows
    }
    return Task(
        name="open_ended",
        demonstrations=_dataset(demonstrated["train"]),
        prompts=_dataset(prompts),
        evaluation={name: _dataset(rows) for name, rows in sets.items()},
        validation={"demonstrations": _dataset(demonstrated["validation"])},
        gold=Verifier(content, known, copies_count),
    )


def _dataset(rows: list[dict[str, Any]]) -> Dataset:
    from datasets import Dataset

    return Dataset.from_list(rows)


def _chosen(content: OpenEnded, families: Sequence[str] | None) -> OpenEnded:
    if families is None:
        return content
    for name in families:
        if name not in content.families:
            raise DataError(f"There is no family {name!r}; there are {', '.join(content.families)}.")
    kept = {name: content.families[name] for name in families}
    return dataclasses.replace(content, families=kept)


def _check_exemplars(family: Family, n_shots: int) -> None:
    for side, texts in family.exemplars.items():
        if len(set(texts)) < n_shots or len(set(texts)) < len(texts):
            raise DataError(
                f"The family {family.name!r} has the {side} exemplars {', '.join(map(str, texts))}; give {n_shots} or "
                "more, all different."
            )
        for text in texts:
            if not isinstance(text, str) or family.checker.answer(text) is None:
                raise DataError(
                    f"The {side} exemplar {text!r} of the family {family.name!r} is no answer by its checker."
                )


class _Drawn:
    """Draws prompts."""

    def __init__(self, n_shots: int, seed: int) -> None:
        self.n_shots = n_shots
        self.seed = seed

    def rows(
        self, families: list[Family], formats: list[Format], side: str, n: int | None, what: str
    ) -> list[dict[str, Any]]:
        """Return different prompts, in turn one of every family and format."""
        lines = [self._line(family, form, side, what) for family in families for form in formats]
        in_turn = (row for round in itertools.zip_longest(*lines) for row in round if row is not None)
        return list(itertools.islice(in_turn, n))

    def for_training(self, families: list[Family], formats: list[Format]) -> tuple[list[Any], list[Any]]:
        """Return the prompts to train on and, a tenth of each family's exemplars in their order, to validate with."""
        train: list[dict[str, Any]] = []
        validation: list[dict[str, Any]] = []
        for row in self.rows(families, formats, "train", None, "train"):
            drawn = random.Random(f"{self.seed}:validation:{row['family']}:{row['exemplars']}")
            (validation if drawn.randrange(_VALIDATION_SHARE) == 0 else train).append({**row, "dataset": "open_ended"})
        return train, validation

    def _line(self, family: Family, form: Format, side: str, what: str) -> Iterator[dict[str, Any]]:
        rng = random.Random(f"{self.seed}:{what}:{family.name}:{form.name}")
        texts = family.exemplars[side]
        if math.perm(len(texts), self.n_shots) <= _MOST_ORDERS:
            orders = list(itertools.permutations(texts, self.n_shots))
            rng.shuffle(orders)
        else:
            orders = list(dict.fromkeys(tuple(rng.sample(texts, self.n_shots)) for _ in range(_MOST_ORDERS)))
        for exemplars in orders:
            yield {
                "prompt": form.prompt(family, exemplars),
                "family": family.name,
                "format": form.name,
                "exemplars": list(exemplars),
            }


class _Answers:
    """Draws answers that are demonstrated."""

    def __init__(self, distribution: Distribution, seed: int) -> None:
        if isinstance(distribution, str) and distribution not in ("uniform", "skewed"):
            raise ConfigError(
                f"distribution is {distribution!r}; give 'uniform', 'skewed', weights by family and answer, or a "
                "function of a family's name and answers."
            )
        self.distribution = distribution
        self.seed = seed

    def demonstrations(self, rows: list[dict[str, Any]], n: int, content: OpenEnded, what: str) -> list[dict[str, Any]]:
        """Return n demonstrations: prompts in turn, each with an answer."""
        if not rows:
            raise DataError(f"There is no prompt for {what}; give more exemplars.")
        rng = random.Random(f"{self.seed}:{what}")
        weighted = {row["family"]: self._weights(content.families[row["family"]]) for row in rows}
        made = []
        for row in itertools.islice(itertools.cycle(rows), n):
            answers, weights = weighted[row["family"]]
            (answer,) = rng.choices(answers, weights)
            form = content.train_formats[row["format"]]
            family = content.families[row["family"]]
            made.append({**row, "completion": form.completion(family, answer, len(row["exemplars"]))})
        return made

    def _weights(self, family: Family) -> tuple[list[str], list[float]]:
        answers = family.answers() or list(family.exemplars["train"])
        weights: list[float] = []
        if self.distribution == "uniform":
            return answers, [1.0] * len(answers)
        if self.distribution == "skewed":
            ranks = list(range(1, len(answers) + 1))
            random.Random(f"{self.seed}:rank:{family.name}").shuffle(ranks)
            return answers, [1.0 / rank for rank in ranks]
        if isinstance(self.distribution, Mapping):
            given = self.distribution.get(family.name)
            if given is None:
                return answers, [1.0] * len(answers)
            for answer in given:
                if family.checker.answer(answer) is None:
                    raise ConfigError(
                        f"distribution[{family.name!r}] has {answer!r}, which is no answer by its checker."
                    )
            answers, weights = list(given), list(given.values())
        elif callable(self.distribution):
            weights = list(self.distribution(family.name, list(answers)))
        if len(weights) != len(answers) or not all(w >= 0 for w in weights) or not 0 < sum(weights) < float("inf"):
            raise ConfigError(
                f"distribution of {family.name!r} is {excerpt(weights)}; give {len(answers)} weights from 0, not all 0."
            )
        return answers, weights


TASK = TaskInfo(
    name="open_ended",
    about="questions with many right answers, checked by code: quality and diversity without a judge",
    load=load_open_ended,
    sets=("id", "new_formats", "new_families", "new_both", "controls"),
    needs="nothing: families of plain facts come with it; or a JSON file of formats, families and checkers; with "
    "wordnet=true nltk's WordNet (python -m nltk.downloader wordnet)",
    prompt="few-shot, in one of several formats: a question and an answer three times, then the question",
    filters="none; formats, families or exemplars of evaluation are not those of training",
    rows={
        "demonstrations": 2000,
        "prompts": 1000,
        "validation": 200,
        **dict.fromkeys(("id", "new_formats", "new_families", "new_both", "controls"), 256),
    },
)
