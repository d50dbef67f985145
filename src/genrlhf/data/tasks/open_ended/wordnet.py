"""Classes of answers from WordNet, as nltk reads it from this machine."""

from __future__ import annotations

import functools
import json
import logging
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from genrlhf.errors import DataError, excerpt

__all__ = ["WORDNET_FAMILIES", "is_synset", "names_below", "notice"]

logger = logging.getLogger(__name__)

WORDNET_FAMILIES = Path(__file__).parent / "wordnet_families.json"
"""Families whose answers are WordNet's: their questions, exemplars and synsets, and the notice of WordNet's licence."""

_SYNSET = re.compile(r"\S+\.[nvars]\.\d{2,}")
_GET = (
    "get it once with `python -m nltk.downloader wordnet`, name the folder that holds corpora/wordnet in the "
    "environment variable NLTK_DATA, or leave the family out with families"
)
# nltk loads its corpora at first use, and reads them by one handle a file.
_lock = threading.Lock()


def notice() -> str:
    """Return the notice that must go with every copy of WordNet's data, lists of its words included."""
    return str(json.loads(WORDNET_FAMILIES.read_text(encoding="utf-8"))["notice"])


def is_synset(name: object) -> bool:
    """Return whether a text has the form of a synset's name, such as animal.n.01."""
    return isinstance(name, str) and _SYNSET.fullmatch(name) is not None


def names_below(
    synsets: Sequence[str], without: Sequence[str], where: str, *, instances: bool = False
) -> Callable[[], list[str]]:
    """Return what reads the names of synsets and of all that is a kind of them, when first called.

    Args:
        synsets: names such as "animal.n.01".
        without: the like; what is a kind of these is left out, with them.
        where: the family, for messages.
        instances: also of single ones, such as the Amazon among rivers.

    Returns:
        A function of nothing: names as WordNet writes them, blanks for its underscores, in order, each once.

    Raises:
        DataError: when it is called, where WordNet is not on this machine, or has no such synset.
    """

    @functools.cache
    def read() -> list[str]:
        with _lock:
            reader = _reader(where)
            done = {_synset(reader, name, where) for name in without}
            waiting = [_synset(reader, name, where) for name in synsets]
            found: set[str] = set()
            while waiting:
                synset = waiting.pop()
                if synset in done:
                    continue
                done.add(synset)
                found.update(name.replace("_", " ") for name in synset.lemma_names())
                waiting += [*synset.hyponyms(), *(synset.instance_hyponyms() if instances else ())]
        return sorted(found)

    return read


def _reader(where: str) -> Any:
    from nltk.corpus import wordnet

    try:
        version = wordnet.get_version()
    except LookupError as error:
        raise DataError(f"{where} has answers of WordNet, which nltk does not find on this machine; {_GET}.") from error
    except (OSError, ValueError, AssertionError, StopIteration) as error:
        missing = f"{type(error).__name__}: {error}".strip(": \n").splitlines()[0]
        raise DataError(
            f"{where} has answers of WordNet, and what nltk finds of it cannot be read ({missing}); {_GET}."
        ) from error
    _tell(version)
    return wordnet


@functools.cache
def _tell(version: str) -> None:
    logger.warning(
        "Answers are names of WordNet %s, Copyright by Princeton University, all rights reserved; its licence asks "
        "that its notice goes with every copy of them (genrlhf.data.tasks.open_ended.notice()).",
        version,
    )


def _synset(reader: Any, name: str, where: str) -> Any:
    from nltk.corpus.reader.wordnet import WordNetError

    try:
        return reader.synset(name)
    except (WordNetError, ValueError) as error:
        raise DataError(
            f"{where}: WordNet {reader.get_version()} has no synset {excerpt(name)}; look for its name with "
            "`nltk.corpus.wordnet.synsets(WORD)`."
        ) from error
