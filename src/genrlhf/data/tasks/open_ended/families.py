"""Families of questions with many right answers, and the formats of their prompts, as files have them."""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import os
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genrlhf.data.tasks.open_ended.checkers import Checker, make_checker
from genrlhf.data.tasks.open_ended.wordnet import WORDNET_FAMILIES
from genrlhf.errors import DataError, excerpt
from genrlhf.json_text import parse_json

__all__ = ["SHIPPED", "Family", "Format", "OpenEnded", "read_open_ended"]

SHIPPED = Path(__file__).parent / "families.json"
"""The families that come with the package: plain facts, and what follows from a definition."""

SPLITS = ("train", "held_out", "control")
FIELDS = ("question", "answer", "ANSWER", "title", "noun", "number")


@dataclass(frozen=True)
class Format:
    """The form of few-shot prompts.

    Attributes:
        name: of the format.
        shot: an exemplar with its question; fields are {question}, {answer}, {ANSWER} in capitals, {title}, {noun} and
            {number}, counted from 1.
        query: what follows the exemplars, and ends where the model goes on.
        head: what stands before them.
        stop: what ends an answer.
        upper_case: an answer must be in capitals.
    """

    name: str
    shot: str
    query: str
    head: str = ""
    stop: tuple[str, ...] = ("\n",)
    upper_case: bool = False

    def prompt(self, family: Family, exemplars: Sequence[str], question: str | None = None) -> str:
        """Return the prompt that shows these exemplars."""
        return self._written(family, exemplars, question) + self._fill(
            self.query, family, len(exemplars) + 1, "", question
        )

    def completion(self, family: Family, answer: str, shots: int) -> str:
        """Return an answer as it follows the prompt: after a blank, where exemplars have one there."""
        before = self._fill(self.shot.partition("{answer}")[0].partition("{ANSWER}")[0], family, shots + 1, "", None)
        lead = before.removeprefix(self._fill(self.query, family, shots + 1, "", None))
        return f"{lead}{answer.upper() if self.upper_case else answer}"

    def answer_in(self, completion: str) -> str | None:
        """Return what stands of a completion before a stop; None for one that is not in capitals where it must be."""
        text = completion
        for stop in self.stop:
            text = text.split(stop, 1)[0]
        return None if self.upper_case and text != text.upper() else text

    def _written(self, family: Family, exemplars: Sequence[str], question: str | None) -> str:
        shots = [self._fill(self.shot, family, n, answer, question) for n, answer in enumerate(exemplars, start=1)]
        return "".join([self._fill(self.head, family, 0, "", question), *shots])

    def _fill(self, text: str, family: Family, number: int, answer: str, question: str | None) -> str:
        return text.format(
            question=question or family.question,
            answer=answer,
            ANSWER=answer.upper(),
            title=family.title,
            noun=family.noun,
            number=number,
        )


@dataclass(frozen=True)
class Family:
    """Questions that ask for one member of a set.

    Attributes:
        name: of the family.
        split: "train", "held_out" or "control": one with so few answers that a narrow model looks like a broad one.
        question: in full.
        noun: what is asked for, with its article.
        title: of a list of answers.
        exemplars: answers that prompts show, "train" and "eval".
        checker: decides about answers.
        paraphrases: of the question.
        size: the number of answers, None for unknown.
        max_new_tokens: how long an answer is at most, None for unknown.
        source: where the answers are from.
    """

    name: str
    split: str
    question: str
    noun: str
    title: str
    exemplars: Mapping[str, tuple[str, ...]]
    checker: Checker
    paraphrases: tuple[str, ...] = ()
    size: int | None = None
    max_new_tokens: int | None = None
    source: str = ""

    def answers(self) -> list[str] | None:
        """Return all answers as one writes them, None where they cannot be listed."""
        if self.checker.listed is None:
            return None
        shown = [text for side in self.exemplars.values() for text in side]
        capital = all(text[:1].isupper() for text in shown)
        # Lists in lower case of what exemplars write with capitals.
        return [_capitals(a) if capital and a == a.lower() else a for a in self.checker.listed()]


def _capitals(text: str) -> str:
    return " ".join(word if word in ("and", "of", "the") else word.capitalize() for word in text.split())


@dataclass(frozen=True)
class OpenEnded:
    """Families and formats.

    Attributes:
        families: by name.
        train_formats: of training.
        held_out_formats: never trained on.
        digest: of all that was read, checkers included; functions count by their names, lists of words that lie
            elsewhere by where they are (`Checker.digest`).
    """

    families: Mapping[str, Family]
    train_formats: Mapping[str, Format] = field(default_factory=dict)
    held_out_formats: Mapping[str, Format] = field(default_factory=dict)
    digest: str = ""


def read_open_ended(
    source: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    *,
    more: Mapping[str, Any] | None = None,
    words: str | os.PathLike[str] | None = None,
    wordnet: bool = False,
) -> OpenEnded:
    """Read families and formats.

    Args:
        source: a JSON file with `formats` (`train`, `held_out`) and `families`, or what such a file holds; by default
            what comes with the package.
        more: further families by name, as in a file; their checker may be a function, or "package.module:name".
        words: a file of English words, one a line; by default `english_words.txt.gz` beside the file.
        wordnet: also animals, fruits, colours and others whose answers are WordNet's, by nltk's copy on this machine,
            in place of families of the same names.

    Raises:
        DataError: a file that cannot be read, a family or a format of another shape, or words that are missing.
    """
    if isinstance(source, Mapping):
        content, name, beside = source, "the given mapping", None
    else:
        file = Path(source).expanduser() if source is not None else SHIPPED
        content, name, beside = _content(file), str(file) if source is not None else "the shipped families", file.parent
    if not isinstance(content, Mapping) or not {"formats", "families"} <= set(content):
        raise DataError(f"{name} holds {excerpt(content)}; it must be a mapping with formats and families.")
    lexicon = functools.cache(lambda: _words(words, beside, name))
    nouns = _content(WORDNET_FAMILIES)["families"] if wordnet else {}
    given = {**content["families"], **nouns, **(more or {})}
    ours = set(given) if isinstance(source, Mapping) else set(more or {})
    if not given:
        raise DataError(f"{name} has no families; add one.")
    formats = {split: content["formats"].get(split, {}) for split in ("train", "held_out")}
    made = {split: {n: _format(n, f, name) for n, f in named.items()} for split, named in formats.items()}
    if not made["train"]:
        raise DataError(f"{name} has no format in formats.train; add one.")
    families = {family: _family(family, one, name, lexicon, code=family in ours) for family, one in given.items()}
    read = json.dumps([given, formats], sort_keys=True, default=lambda one: getattr(one, "__qualname__", repr(one)))
    return OpenEnded(families, made["train"], made["held_out"], hashlib.sha256(read.encode()).hexdigest()[:16])


def _content(file: Path) -> Any:
    if not file.is_file():
        raise DataError(f"{file} does not exist; give a JSON file of formats and families.")
    data = file.read_bytes()
    return parse_json(gzip.decompress(data) if file.suffix == ".gz" else data, str(file))


def _words(given: str | os.PathLike[str] | None, beside: Path | None, name: str) -> frozenset[str]:
    file = Path(given).expanduser() if given is not None else (beside or Path()) / "english_words.txt.gz"
    if not file.is_file():
        raise DataError(
            f"{name} has a family of English words, and {file} does not exist; give words, a file of one word a line, "
            "or leave the family out with families."
        )
    data = file.read_bytes()
    return frozenset((gzip.decompress(data) if file.suffix == ".gz" else data).decode("utf-8").split())


def _format(format: str, settings: Any, name: str) -> Format:
    where = f"{name}, format {format!r}"
    known = {"shot", "query", "head", "stop", "upper_case"}
    if not isinstance(settings, Mapping) or not {"shot", "query"} <= set(settings) <= known:
        raise DataError(
            f"{where} is {excerpt(settings)}; give shot and query, and of {', '.join(sorted(known))} no others."
        )
    for part in ("shot", "query", "head"):
        try:
            fields = {field for _, field, *_ in string.Formatter().parse(settings.get(part, "")) if field is not None}
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{where}, {part} is {excerpt(settings.get(part))}, which is no template: {error}."
            ) from error
        if unknown := fields - set(FIELDS):
            raise DataError(f"{where}, {part} has the field {min(unknown)!r}; there are {', '.join(FIELDS)}.")
    if "{answer}" not in settings["shot"] and "{ANSWER}" not in settings["shot"]:
        raise DataError(f"{where}, shot shows no {{answer}}: {excerpt(settings['shot'])}; add it.")
    stop = settings.get("stop", ["\n"])
    if not isinstance(stop, (list, tuple)) or not all(isinstance(text, str) and text for text in stop):
        raise DataError(f"{where}, stop is {excerpt(stop)}; give a list of texts.")
    rest = {key: value for key, value in settings.items() if key != "stop"}
    return Format(format, stop=tuple(stop), **rest)


def _family(family: str, settings: Any, name: str, words: Callable[[], frozenset[str]], *, code: bool) -> Family:
    where = f"{name}, family {family!r}"
    texts = ("question", "noun", "title")
    if not isinstance(settings, Mapping) or not {*texts, "split", "exemplars", "checker"} <= set(settings):
        raise DataError(f"{where} is {excerpt(settings)}; give split, question, noun, title, exemplars and checker.")
    if settings["split"] not in SPLITS:
        raise DataError(f"{where} is of the split {excerpt(settings['split'])}; give one of {', '.join(SPLITS)}.")
    for key in texts:
        if not isinstance(settings[key], str) or not settings[key].strip():
            raise DataError(f"{where}, {key} is {excerpt(settings[key])}; give a text.")
    checker = make_checker(settings["checker"], where, words, code=code)
    exemplars = settings["exemplars"]
    if not isinstance(exemplars, Mapping) or not {"train", "eval"} <= set(exemplars):
        raise DataError(f"{where}, exemplars are {excerpt(exemplars)}; give lists of answers as train and eval.")
    return Family(
        name=family,
        split=settings["split"],
        question=settings["question"],
        noun=settings["noun"],
        title=settings["title"],
        exemplars={side: tuple(exemplars[side]) for side in ("train", "eval")},
        checker=checker,
        paraphrases=tuple(settings.get("paraphrases") or ()),
        size=settings.get("size"),
        max_new_tokens=settings.get("max_new_tokens"),
        source=settings.get("source") or "",
    )
