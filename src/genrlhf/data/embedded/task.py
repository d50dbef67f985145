"""The embedded task: every dataset that the experiment needs, generated from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.data.bradley_terry import is_preferred
from genrlhf.data.embedded.annotators import corrupt, draw_annotator
from genrlhf.data.embedded.gold import gold_score
from genrlhf.data.embedded.language import Post, draw_post
from genrlhf.data.embedded.vocabulary import SEEN_SUBREDDITS, UNSEEN_SUBREDDITS
from genrlhf.data.task import Task
from genrlhf.errors import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["EVALUATION_SETS", "MODEL_FOLDER", "PREFERENCE_TEMPERATURE", "Distribution", "load_embedded"]

MODEL_FOLDER = Path(__file__).parent / "assets"
"""The base model and tokenizer that ship with the package."""

PREFERENCE_TEMPERATURE = 0.05
"""Temperature of the Bradley-Terry labels, in units of the gold score."""


@dataclass(frozen=True)
class Distribution:
    """Where posts are drawn from: subreddits, and how many facts and urgent facts (from, to) a post has."""

    subreddits: tuple[str, ...]
    n_facts: tuple[int, int] = (3, 5)
    n_urgent: tuple[int, int] = (1, 1)

    def draw(self, rng: random.Random) -> Post:
        """Draw a post."""
        return draw_post(rng, self.subreddits, self.n_facts, self.n_urgent)


_LONG: dict[str, Any] = {"n_facts": (6, 8), "n_urgent": (2, 3)}
EVALUATION_SETS = {
    "id": Distribution(tuple(SEEN_SUBREDDITS)),
    "ood": Distribution(tuple(UNSEEN_SUBREDDITS), **_LONG),
    "longer": Distribution(tuple(SEEN_SUBREDDITS), **_LONG),
    "unseen_subreddits": Distribution(tuple(UNSEEN_SUBREDDITS)),
}
"""The evaluation sets: in distribution, both shifts at once, and each shift alone."""


@dataclass
class _Maker:
    """Draws rows; no prompt is drawn twice, in whichever dataset."""

    seed: int
    taken: set[str] = field(default_factory=set)
    streams: int = 0

    def rows(
        self, n: int, distribution: Distribution, write: Callable[[Post, random.Random], dict[str, str]]
    ) -> Dataset:
        """Return `n` rows of the subreddit, the prompt, and what `write` adds to them."""
        from datasets import Dataset

        # A stream of its own for each dataset: its size does not change what the next one draws.
        rng = random.Random(self.seed * 64 + self.streams)
        self.streams += 1
        rows: list[dict[str, str]] = []
        while len(rows) < n:
            post = distribution.draw(rng)
            if post.prompt not in self.taken:
                self.taken.add(post.prompt)
                rows.append({"prompt": post.prompt, "subreddit": post.subreddit, **write(post, rng)})
        columns = list(write(distribution.draw(random.Random(0)), random.Random(0)))
        return Dataset.from_dict({name: [row[name] for row in rows] for name in ["prompt", "subreddit", *columns]})


def _demonstration(post: Post, rng: random.Random) -> dict[str, str]:
    return {"completion": draw_annotator(rng).write(post, rng)}


def _reference(post: Post, rng: random.Random) -> dict[str, str]:
    return {"reference": draw_annotator(rng).write(post, rng)}


def _nothing(post: Post, rng: random.Random) -> dict[str, str]:
    return {}


def _preference(post: Post, rng: random.Random) -> dict[str, str]:
    """Two summaries, in the order that a Bradley-Terry judge puts them: P(a over b) = σ((g(a) - g(b)) / τ)."""
    first = second = _attempt(post, rng)
    while second == first:
        second = _attempt(post, rng)
    a, b = gold_score([post.prompt, post.prompt], [first, second])
    if not is_preferred(a - b, PREFERENCE_TEMPERATURE, rng):
        first, second = second, first
    return {"chosen": first, "rejected": second}


def _attempt(post: Post, rng: random.Random) -> str:
    summary = draw_annotator(rng).write(post, rng)
    return corrupt(summary, post, rng) if rng.random() < 0.15 else summary


def load_embedded(
    seed: int = 0,
    *,
    n_demonstrations: int = 4000,
    n_preferences: int = 4000,
    n_prompts: int = 2000,
    n_validation: int = 500,
    n_evaluation: int = 500,
) -> Task:
    """Generate the embedded task, a controlled miniature of TL;DR summarisation with a known gold score.

    The same seed and sizes give the same rows; no prompt occurs twice in the task. The evaluation sets do not depend
    on the other sizes.

    Args:
        seed: of all datasets.
        n_demonstrations: rows for SFT.
        n_preferences: pairs for the reward model.
        n_prompts: prompts for PPO and best-of-N training.
        n_validation: held-out rows, of demonstrations and of preferences each.
        n_evaluation: rows of every evaluation set ("id", "ood", "longer", "unseen_subreddits").

    Raises:
        ConfigError: a seed or size is negative.

    Example:
        >>> task = load_embedded(0, n_demonstrations=2, n_preferences=2, n_prompts=2, n_validation=2, n_evaluation=2)
        >>> sorted(task.evaluation)
        ['id', 'longer', 'ood', 'unseen_subreddits']
        >>> task.evaluation["id"].column_names
        ['prompt', 'subreddit', 'reference']
    """
    sizes = {
        "seed": seed,
        "n_demonstrations": n_demonstrations,
        "n_preferences": n_preferences,
        "n_prompts": n_prompts,
        "n_validation": n_validation,
        "n_evaluation": n_evaluation,
    }
    for name, value in sizes.items():
        if value < 0:
            raise ConfigError(f"load_embedded({name}={value}): must not be negative; give 0 or more")
    maker = _Maker(seed)
    evaluation = {
        name: maker.rows(n_evaluation, distribution, _reference) for name, distribution in EVALUATION_SETS.items()
    }
    training = EVALUATION_SETS["id"]
    validation = {
        "demonstrations": maker.rows(n_validation, training, _demonstration),
        "preferences": maker.rows(n_validation, training, _preference),
    }
    return Task(
        name="embedded",
        demonstrations=maker.rows(n_demonstrations, training, _demonstration),
        preferences=maker.rows(n_preferences, training, _preference),
        prompts=maker.rows(n_prompts, training, _nothing),
        evaluation=evaluation,
        validation=validation,
        gold=gold_score,
        model=str(MODEL_FOLDER),
    )
