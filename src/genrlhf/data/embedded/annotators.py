"""Imperfect writers of summaries, and the ways in which a weak model spoils them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from genrlhf.data.embedded.language import SYNONYMS, Fact, Post, invent, say
from genrlhf.data.embedded.vocabulary import CLOSERS, CONNECTORS, OPENERS

__all__ = ["ANNOTATORS", "Annotator", "corrupt", "draw_annotator"]


@dataclass(frozen=True)
class Annotator:
    """Habits of one writer; all but `max_facts` are probabilities.

    Attributes:
        name: for the documentation and tests.
        share: share of the demonstrations that this annotator writes.
        title: tells the fact that the title is about.
        urgent: tells an urgent fact (each for itself).
        plain: tells any other fact (each for itself).
        max_facts: tells no more facts than this.
        invents: gets one part of one told fact wrong.
        terse: drops the determiners.
        passive: turns a clause round (each for itself).
        synonym: takes another verb than the post (each for itself).
        opener: starts with a phrase that says nothing.
        closer: ends with one.
        shuffles: leaves the order of the post.
    """

    name: str
    share: float
    title: float
    urgent: float
    plain: float
    max_facts: int
    invents: float
    terse: float
    passive: float
    synonym: float
    opener: float
    closer: float
    shuffles: float = 0.3

    def select(self, post: Post, rng: random.Random) -> list[Fact]:
        """Choose the facts to tell, at least one, in the order of telling."""
        chance = {fact: self.urgent if fact in post.urgent else self.plain for fact in post.facts}
        if post.title_fact is not None:
            chance[post.title_fact] = self.title
        chosen = [fact for fact in post.facts if rng.random() < chance[fact]] or [rng.choice(post.facts)]
        while len(chosen) > self.max_facts:
            chosen.pop(rng.randrange(len(chosen)))
        if rng.random() < self.shuffles:
            rng.shuffle(chosen)
        return chosen

    def write(self, post: Post, rng: random.Random) -> str:
        """Write a summary of `post`; it starts with a blank."""
        facts = self.select(post, rng)
        if rng.random() < self.invents:
            facts[rng.randrange(len(facts))] = invent(post, rng)
        terse = rng.random() < self.terse
        text = ""
        for fact in facts:
            text += rng.choice(CONNECTORS) if text else ""
            verb = post.verb(fact)
            if rng.random() < self.synonym:
                verb = next(word for word in SYNONYMS[fact.verb] if word != verb)
            text += say(fact, verb, terse=terse, passive=rng.random() < self.passive)
        opener = rng.choice(OPENERS) + " " if rng.random() < self.opener else ""
        closer = " " + rng.choice(CLOSERS) if rng.random() < self.closer else ""
        return f" {opener}{text}{rng.choice('..!')}{closer}"


ANNOTATORS = (
    #          name        share title urgent plain max inv. terse pass. syn. open. close
    Annotator("careful", 0.25, 0.90, 0.90, 0.05, 3, 0.02, 0.0, 0.00, 0.0, 0.2, 0.1),
    Annotator("headline", 0.15, 0.95, 0.20, 0.10, 2, 0.05, 0.5, 0.10, 0.0, 0.1, 0.1),
    Annotator("dramatic", 0.15, 0.20, 0.90, 0.10, 2, 0.10, 0.0, 0.00, 0.1, 0.8, 0.8),
    Annotator("rambling", 0.15, 0.60, 0.60, 0.60, 4, 0.10, 0.0, 0.00, 0.1, 0.6, 0.4),
    Annotator("hasty", 0.15, 0.30, 0.30, 0.30, 2, 0.10, 0.0, 0.00, 0.0, 0.3, 0.3),
    Annotator("gossip", 0.15, 0.50, 0.60, 0.20, 3, 0.40, 0.0, 0.10, 0.1, 0.6, 0.5),
)


def draw_annotator(rng: random.Random) -> Annotator:
    """Draw one of the annotators by their share of the demonstrations."""
    return rng.choices(ANNOTATORS, [annotator.share for annotator in ANNOTATORS])[0]


def corrupt(summary: str, post: Post, rng: random.Random) -> str:
    """Spoil a summary the way a weak model would: cut it, lose or swap words, repeat, run on, or wander off."""
    way = rng.randrange(5)
    pieces = summary.split()
    if way == 0:
        pieces = pieces[: rng.randint(1, len(pieces))]
    elif way == 1:
        pieces.pop(rng.randrange(len(pieces)))
    elif way == 2:
        at = rng.randrange(len(pieces))
        pieces[at:at] = pieces[max(0, at - rng.randint(2, 5)) : at]
    elif way == 3:
        pieces += _run_on(post, rng)
    else:
        i, j = rng.randrange(len(pieces)), rng.randrange(len(pieces))
        pieces[i], pieces[j] = pieces[j], pieces[i]
    return " " + " ".join(pieces or summary.split())


def _run_on(post: Post, rng: random.Random) -> Sequence[str]:
    """Write more that nobody asked for, true or not."""
    fact = invent(post, rng) if rng.random() < 0.5 else rng.choice(post.facts)
    return f"{rng.choice(('also', 'and', 'then'))} {say(fact, post.verb(fact))}.".split()
