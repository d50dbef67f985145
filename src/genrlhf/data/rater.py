"""An automatic rater of summaries, to make preferences where nobody has compared any."""

from __future__ import annotations

import itertools
import logging
import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from genrlhf.data.bradley_terry import is_preferred
from genrlhf.data.formats import as_completion, parse_tldr_prompt
from genrlhf.errors import ConfigError, DataError, excerpt
from genrlhf.text import ends_sentence, rouge_l, rouge_l_of_words, terms

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["preferences_from_samples", "rate", "rouge_l"]

GROUNDED_WEIGHT = 0.2
REPEATED_WEIGHT = 0.3
WORD_COST = 0.02
MAX_LENGTH_COST = 0.3
NO_STOP_COST = 0.1

_FUNCTION_WORDS = frozenset(
    terms("""
    a about after all also am an and any are as at be because been before being but by can could did do
    does for from had has have he her him his how i if in into is it its just like me more my no not of
    on one or our out over s she so some such t than that the their them then there these they this
    those to too up us very was we were what when where which while who why will with would you your
    """)
)

logger = logging.getLogger(__name__)

Rater: TypeAlias = Callable[[Sequence[str], Sequence[str], Sequence[str]], Sequence[float]]
"""From prompts, completions and references to ratings."""


def rate(prompts: Sequence[str], completions: Sequence[str], references: Sequence[str]) -> list[float]:
    r"""Rate summaries by their likeness to a reference and by what can be told without one; higher is better.

    `rating = ROUGE-L + 0.2 grounded - 0.3 repeated - min(0.3, 0.02 excess) - 0.1 [no stop]`

    * grounded: the share of the summary's distinct content words that occur in title or post (in the whole prompt
      where that is no TL;DR prompt); content words are those that are no common function words of English;
    * repeated: the share of its pairs of adjacent words that occurred earlier in it;
    * excess: the words that it has beyond the length of the reference;
    * [no stop]: 1 where the reference ends in a full stop, question mark or exclamation mark and the summary does not.

    The rater stands in for people. A reward model trained on its preferences never sees the reference; the four further
    terms are there because it can learn them from the text, as it can learn from the post what references tell.

    Args:
        prompts: the inputs.
        completions: the summaries, any strings.
        references: what people wrote, one a prompt.

    Returns:
        One rating a completion, from -0.7 to 1.2.

    Raises:
        DataError: not as many completions or references as prompts.

    Example:
        >>> prompt = "SUBREDDIT: r/pets\n\nTITLE: the couch\n\nPOST: my cat clawed the couch.\n\nTL;DR:"
        >>> reference = " cat clawed the couch."
        >>> ratings = rate([prompt] * 3, [reference, " couch", " dog dog dog dog dog dog"], [reference] * 3)
        >>> [round(rating, 2) for rating in ratings]
        [1.2, 0.5, -0.38]
    """
    if not len(prompts) == len(completions) == len(references):
        raise DataError(
            f"rate got {len(prompts)} prompts, {len(completions)} completions and {len(references)} references; give "
            "one of each for every completion."
        )
    return [_rate(*one) for one in zip(prompts, completions, references, strict=True)]


def preferences_from_samples(
    prompts: Sequence[str],
    samples: Sequence[Sequence[str]],
    references: Sequence[str],
    *,
    rater: Rater = rate,
    n_pairs_per_prompt: int = 1,
    min_margin: float = 0.05,
    temperature: float = 0.0,
    seed: int = 0,
) -> Dataset:
    """Make preference pairs from several completions of every prompt, as a rater prefers them.

    The pairs are drawn at random from those of different ratings, so that a reward model sees the whole range that its
    policy produces. Completions without words are passed over. How many prompts gave no pair, because their
    completions are equal or rated within `min_margin`, is logged as a warning.

    Args:
        prompts: the inputs.
        samples: several completions of every prompt.
        references: what people wrote, one a prompt.
        rater: `(prompts, completions, references) -> ratings`, higher is better.
        n_pairs_per_prompt: at most so many pairs of a prompt.
        min_margin: least difference of the two ratings; ties are never pairs.
        temperature: of the labels, in units of the rating: the better one is chosen with probability
            σ(difference / temperature), see `is_preferred`; at 0 always.
        seed: of the draw, which does not depend on the order of prompts or samples.

    Returns:
        Rows of `prompt`, `chosen`, `rejected`.

    Raises:
        ConfigError: no pairs asked for, or a margin or temperature that is negative.
        DataError: not as many lists of samples or references as prompts, no pair at all, or a rating that is missing
            or not finite.
    """
    from datasets import Dataset

    if n_pairs_per_prompt < 1:
        raise ConfigError(f"n_pairs_per_prompt is {n_pairs_per_prompt}; give 1 or more.")
    if not min_margin >= 0:
        raise ConfigError(f"min_margin is {min_margin}; give 0 or more.")
    if not 0 <= temperature < math.inf:
        raise ConfigError(f"temperature is {temperature}; give 0, for labels without noise, or more.")
    if not len(prompts) == len(samples) == len(references):
        raise DataError(
            f"preferences_from_samples got {len(prompts)} prompts, {len(samples)} lists of samples and "
            f"{len(references)} references; give one of each for every prompt."
        )
    rows = []
    skipped = 0
    for prompt, rated in zip(prompts, _rated(prompts, samples, references, rater), strict=True):
        pairs = _pairs(rated, min_margin)
        rng = random.Random(f"{seed}\n{prompt}")
        for better, worse in rng.sample(pairs, min(n_pairs_per_prompt, len(pairs))):
            right = temperature == 0 or is_preferred(rated[better] - rated[worse], temperature, rng)
            chosen, rejected = (better, worse) if right else (worse, better)
            rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
        skipped += not pairs
    if not rows:
        raise DataError(
            f"none of {len(prompts)} prompts has two completions whose ratings differ by {min_margin}; draw more "
            "samples, at a higher temperature, or lower min_margin."
        )
    if skipped:
        logger.warning(
            "%d of %d prompts gave no pair: their samples are equal, or rated within %g.",
            skipped,
            len(prompts),
            min_margin,
        )
    return Dataset.from_list(rows)


def _rated(
    prompts: Sequence[str], samples: Sequence[Sequence[str]], references: Sequence[str], rater: Rater
) -> list[dict[str, float]]:
    """Return the rating of every distinct completion of each prompt; the rater is asked once."""
    texts = [_distinct(drawn) for drawn in samples]
    asked = [
        (prompt, text, reference)
        for prompt, found, reference in zip(prompts, texts, references, strict=True)
        for text in found
    ]
    if not asked:
        return [{} for _ in texts]
    flat_prompts, completions, flat_references = (list(column) for column in zip(*asked, strict=True))
    ratings = list(rater(flat_prompts, completions, flat_references))
    if len(ratings) != len(asked):
        raise DataError(f"the rater returned {len(ratings)} ratings for {len(asked)} completions; return one for each.")
    for (prompt, text, _), rating in zip(asked, ratings, strict=True):
        if not math.isfinite(rating):
            raise DataError(
                f"the rater gave {rating} to the completion {excerpt(text)} of the prompt {excerpt(prompt)}; return a "
                "finite number for each."
            )
    following = iter(ratings)
    return [{text: next(following) for text in found} for found in texts]


def _distinct(samples: Sequence[str]) -> list[str]:
    if isinstance(samples, str):
        raise DataError(f"the samples of a prompt are the string {samples[:40]!r}; give a list of completions.")
    return sorted({as_completion(sample) for sample in samples if terms(sample)})


def _pairs(rated: Mapping[str, float], min_margin: float) -> list[tuple[str, str]]:
    """Return every pair that can be told apart, the better one first."""
    pairs = []
    for first, second in itertools.combinations(rated, 2):
        better, worse = (first, second) if rated[first] >= rated[second] else (second, first)
        if rated[better] > rated[worse] and rated[better] - rated[worse] >= min_margin:
            pairs.append((better, worse))
    return pairs


def _rate(prompt: str, completion: str, reference: str) -> float:
    words, expected = terms(completion), terms(reference)
    content = set(words) - _FUNCTION_WORDS
    grounded = len(content & _told(prompt)) / len(content) if content else 0.0
    pairs = list(itertools.pairwise(words))
    repeated = 1 - len(set(pairs)) / len(pairs) if pairs else 0.0
    length_cost = min(MAX_LENGTH_COST, WORD_COST * max(0, len(words) - len(expected)))
    no_stop = ends_sentence(reference) and not ends_sentence(completion)
    rating = rouge_l_of_words(words, expected) + GROUNDED_WEIGHT * grounded - REPEATED_WEIGHT * repeated - length_cost
    return rating - NO_STOP_COST * no_stop


def _told(prompt: str) -> set[str]:
    try:
        post = parse_tldr_prompt(prompt)
    except DataError:
        return set(terms(prompt))
    return set(terms(f"{post.title} {post.post}"))
