"""Which judge options name."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from genrlhf.cli.terminal import say
from genrlhf.errors import ConfigError

if TYPE_CHECKING:
    from genrlhf.metrics.preference import JudgeTemplate, OpenAIJudge
    from genrlhf.studies.judges import LocalJudge, RewardModelJudge

    ChosenJudge: TypeAlias = OpenAIJudge | LocalJudge | RewardModelJudge

__all__ = ["choose_judge", "spent_by", "watch"]


def choose_judge(args: argparse.Namespace, store_file: str) -> tuple[ChosenJudge, str]:
    """Return the judge that the options of `genrlhf judge run` name, and what it is called in files.

    Args:
        args: the options.
        store_file: where its answers are kept.
    """
    if args.reward_model and not args.local_model:
        from genrlhf.studies.judges import RewardModelJudge

        return RewardModelJudge(args.reward_model), f"reward_model:{Path(args.reward_model).name}"
    if args.reward_model or (args.local_model and (args.model or args.base_url)):
        raise ConfigError("Give one judge: --model, --local-model or --reward-model.")
    if args.local_model:
        for name in ("temperature", "reasoning_effort", "extra_body"):
            if getattr(args, name) not in (None, "auto"):
                raise ConfigError(f"--{name.replace('_', '-')} is for an endpoint; a local judge takes --max-tokens.")
    template, settings, model, base_url = _asked(args)
    from genrlhf.metrics.preference.judging.answer_store import AnswerStore

    store = AnswerStore(store_file)
    if args.local_model:
        from genrlhf.models.fingerprint import model_fingerprint
        from genrlhf.studies.draws import sampler_of
        from genrlhf.studies.judges import LocalJudge

        name = Path(args.local_model).name
        label = f"{name}@{model_fingerprint(args.local_model)}"
        judge = LocalJudge(
            sampler_of(args.local_model), template, store=store, name=label, max_new_tokens=args.max_tokens
        )
        return judge, f"{name}:{template.name}"
    from genrlhf.metrics.preference.judging.openai_judge import OpenAIJudge

    endpoint = OpenAIJudge(
        model,
        template,
        settings=settings,
        max_tokens=args.max_tokens,
        temperature=args.temperature,
        reasoning_effort=args.reasoning_effort,
        extra_body=args.extra_body,
        report=say,
        base_url=base_url,
        store=store,
        concurrency=args.concurrency,
        timeout=args.timeout,
        max_retries=args.max_retries,
        prices=tuple(args.prices) if args.prices else None,
        budget=args.budget,
    )
    return endpoint, f"{model}:{template.name}"


def _asked(args: argparse.Namespace) -> tuple[JudgeTemplate, dict[str, Any], str, str | None]:
    """Return what is asked, with what settings, of which model and where."""
    from genrlhf.metrics.preference.judging.alpaca_eval import load_alpaca_eval_judge
    from genrlhf.metrics.preference.judging.templates import judge_template

    if args.alpaca_eval:
        described = load_alpaca_eval_judge(args.alpaca_eval)
        template, settings = described.template, dict(described.settings)
        model, base_url = args.model or described.model, args.base_url or described.base_url
    else:
        template, settings = judge_template(args.task, args.answer), {}
        model, base_url = args.model, args.base_url
    if not model and not args.local_model:
        raise ConfigError("There is no judge; name a model with --model, --local-model or --reward-model.")
    return template, settings, model, base_url


def watch(judge: ChosenJudge, progress: Callable[[], object]) -> None:
    """Have a judge report every answer."""
    watched = getattr(judge, "endpoint", judge)
    if hasattr(watched, "progress"):
        watched.progress = progress


def spent_by(judge: ChosenJudge) -> dict[str, Any]:
    """Return what the answers took."""
    if not hasattr(judge, "endpoint"):
        return {"answered_now": getattr(judge, "answered", None), "stored": getattr(judge, "stored", None)}
    usage = judge.endpoint.usage
    return {
        "failed": usage.failed,
        "last_error": usage.last_error,
        "answered_now": usage.answered,
        "stored": usage.stored,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cost": usage.cost,
        "estimated": usage.estimated,
        "unknown": usage.unknown,
        "unknown_cost": usage.unknown_cost,
    }
