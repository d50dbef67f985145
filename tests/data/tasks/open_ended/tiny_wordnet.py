"""A WordNet of a few nouns, in the files of its database: an index of words, and a line a synset at its own offset."""

from __future__ import annotations

from pathlib import Path

import nltk
import pytest
from nltk.corpus.reader import WordNetCorpusReader
from nltk.corpus.util import LazyCorpusLoader

NOTICE = "  1 WordNet 3.0 Copyright 2006 by Princeton University.  All rights reserved.\n"
SYNSETS: dict[str, tuple[list[str], str | None]] = {
    "animal": (["animal", "beast"], None),
    "cat": (["cat"], "animal"),
    "siamese": (["Siamese_cat", "Siamese"], "cat"),
    "dog": (["dog", "A._dog"], "animal"),
    "berry": (["berry"], None),
    "hominid": (["hominid"], "animal"),
    "man": (["man"], "hominid"),
    "garfield": (["Garfield"], "i:cat"),
    # A cat and a pet: two ways up.
    "pet": (["pet"], "animal"),
}


def write(folder: Path) -> Path:
    """Write it where nltk looks under a folder of its data, and return that folder."""
    place = folder / "corpora" / "wordnet"
    place.mkdir(parents=True)
    offsets = dict.fromkeys(SYNSETS, 0)
    for _ in range(2):  # Offsets have eight digits, so that the second time nothing moves.
        text = NOTICE
        for key, (words, _) in SYNSETS.items():
            offsets[key] = len(text)
            links = [
                ("@i" if one.startswith("i:") else "@", one[2:] if one.startswith("i:") else one) for one in up(key)
            ]
            links += [("~i" if f"i:{key}" in up(below) else "~", below) for below in SYNSETS if key in bare(below)]
            names = " ".join(f"{word} 0" for word in words)
            ends = " ".join(f"{mark} {offsets[end]:08d} n 0000" for mark, end in links)
            text += f"{offsets[key]:08d} 05 n {len(words):02x} {names} {len(links):03d} {ends} | a {key}  \n".replace(
                "  |", " |"
            )
    words = {word.lower(): offsets[key] for key, (names, _) in SYNSETS.items() for word in names}
    index = "".join(f"{word} n 1 0 1 0 {offset:08d}  \n" for word, offset in sorted(words.items()))
    files = dict.fromkeys(WordNetCorpusReader._FILES, "") | {
        "data.noun": text,
        "data.adj": NOTICE,
        "index.noun": NOTICE + index,
        "lexnames": "".join(f"{n:02d}\tfile.{n}\t1\n" for n in range(45)),
    }
    for name, content in files.items():
        (place / name).write_text(content, encoding="utf-8")
    return folder


def up(key: str) -> list[str]:
    above = SYNSETS[key][1]
    return [*([above] if above else []), *(["pet"] if key == "cat" else [])]


def bare(key: str) -> list[str]:
    return [one.removeprefix("i:") for one in up(key)]


def use(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Let nltk look in these folders only, and forget what it has read before."""
    monkeypatch.setattr(nltk.data, "path", [str(folder) for folder in folders])
    monkeypatch.setattr(nltk.corpus, "wordnet", LazyCorpusLoader("wordnet", WordNetCorpusReader, None))
