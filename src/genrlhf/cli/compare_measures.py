"""What `genrlhf compare` is told to measure, and the judges and rewards that it makes for it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.errors import ConfigError, excerpt

if TYPE_CHECKING:
    from genrlhf.data import Task
    from genrlhf.studies.compare_figures import Measures
    from genrlhf.types import DiversityMetric, Judge, RewardFunction

__all__ = ["ANSWERS_FILE", "judge_words", "make_measures", "metric_options", "named_levels", "named_metrics"]

ANSWERS_FILE = "judge-answers.sqlite"
"""Where the answers of a judge are kept, in the folder of the comparison."""
_JUDGES = ("local", "openai")


def named_metrics(args: argparse.Namespace) -> list[str]:
    """Return the names of metrics."""
    return _words(args.metrics, "--metrics")


def named_levels(args: argparse.Namespace) -> list[Any]:
    """Return the levels of diversity."""
    from genrlhf.metrics.diversity.evaluation import LEVELS

    names = _words(args.levels, "--levels")
    for name in names:
        if name not in LEVELS:
            raise ConfigError(f"--levels has {excerpt(name)}; give some of {', '.join(LEVELS)}.")
    return [level for level in LEVELS if level in names]


def metric_options(args: argparse.Namespace) -> Any:
    """Return what metrics are made with."""
    from genrlhf.metrics.diversity.catalogue import MetricOptions
    from genrlhf.metrics.diversity.embeddings import Embedder, sentence_encoder

    embedder = Embedder(args.encoder or sentence_encoder("published"))
    return MetricOptions(embedder=embedder, classes=args.classes, seed=args.seed)


def judge_words(args: argparse.Namespace) -> tuple[str, str]:
    """Return the kind of judge, and its model."""
    kind, _, model = args.judge.partition("=")
    right = (kind in ("gold", "reward") and not model) or (kind in _JUDGES and model)
    if not right:
        raise ConfigError(f"--judge is {excerpt(args.judge)}; give gold, reward, local=FOLDER_OR_NAME or openai=MODEL.")
    if kind == "reward" and not args.reward:
        raise ConfigError("--judge reward needs the reward model: --reward MODEL.")
    if kind == "gold" and not args.task:
        raise ConfigError("--judge gold needs a task that has a gold score: --task NAME.")
    return kind, model


def make_measures(
    args: argparse.Namespace, task: Task | None, metrics: dict[str, DiversityMetric], levels: list[Any]
) -> tuple[Measures, dict[str, Any]]:
    """Return what is measured, and what the record says of it."""
    from genrlhf.studies.compare_figures import Measures, RememberedScores

    scores: dict[str, RewardFunction] = {}
    if task is not None and task.gold is not None:
        scores["gold"] = task.gold
    if args.reward:
        from genrlhf.rewards import load_reward

        scores["reward"] = RememberedScores(load_reward(args.reward, trust_remote_code=args.trust_remote_code))
    judge, label = _judge(args, scores)
    return Measures(metrics, levels, judge, scores), {"judge": label, "reward": args.reward}


def _judge(args: argparse.Namespace, scores: dict[str, RewardFunction]) -> tuple[Judge | None, str | None]:
    if args.judge is None:
        return None, None
    kind, model = judge_words(args)
    if kind in ("gold", "reward"):
        from genrlhf.metrics.preference import ScoreJudge

        if kind not in scores:
            raise ConfigError(f"--judge gold: the task {args.task!r} has no gold score; name another judge.")
        return ScoreJudge(scores[kind]), kind if kind == "gold" else f"reward:{Path(args.reward).name}"
    from genrlhf.cli.judge.choosing import choose_judge

    asked = argparse.Namespace(
        reward_model=None,
        local_model=model if kind == "local" else None,
        model=model if kind == "openai" else None,
        base_url=args.judge_url,
        task=args.judge_task,
        answer=args.judge_answer,
        prices=args.judge_prices,
        budget=args.judge_budget,
        alpaca_eval=None,
        max_tokens="auto",
        temperature="auto",
        reasoning_effort=None,
        extra_body=None,
        concurrency=16,
        max_retries=8,
        timeout=120.0,
    )
    folder = Path(args.output_dir).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return choose_judge(asked, str(folder / ANSWERS_FILE))


def _words(text: str, option: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise ConfigError(f"{option} names nothing; give names with commas between them.")
    return names
